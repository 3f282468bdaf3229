"""Reciprocal rank fusion of several ranked lists."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

__all__ = ["RRF_K", "reciprocal_rank_fusion"]

RRF_K = 60
"""Rank offset; Source: Cormack, Clarke, Buettcher, SIGIR 2009."""

Key = TypeVar("Key", bound=Hashable)


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Key]], k: int = RRF_K, weights: Sequence[float] | None = None
) -> list[tuple[Key, float]]:
    """Fuse rankings: score(d) = sum over rankings of weight / (k + rank of d), ranks from 1.

    Args:
        rankings: Keys, best first, each at most once in a ranking.
        k: Rank offset; larger flattens the difference between first and later ranks.
        weights: One for each ranking; all are 1 if left out.

    Returns:
        (key, score) pairs, best first; equal scores keep the order of first appearance.
    """
    scores: dict[Key, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, key in enumerate(ranking, start=1):
            scores[key] = scores.get(key, 0.0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda item: -item[1])
