"""Joining what the dense and the BM25 leg of a search found: by rank, or by relative score."""

from collections.abc import Hashable, Sequence
from typing import Literal, TypeVar

__all__ = ["BM25_WEIGHTS", "RRF_K", "Fusion", "fuse", "reciprocal_rank_fusion", "relative_score_fusion"]

Fusion = Literal["rrf", "relative_score"]
"""How legs are joined: `reciprocal_rank_fusion` or `relative_score_fusion`."""
RRF_K = 60
"""Rank offset; Source: Cormack, Clarke, Buettcher, SIGIR 2009."""
BM25_WEIGHTS: dict[Fusion, float] = {"rrf": 1.0, "relative_score": 0.7}
"""Weight of the BM25 leg, where the question's wording asks for nothing else; the dense leg's is 1. That of
`relative_score` is tuned on every other question of `samples/cranfield` (`make bench-fusion`)."""

Key = TypeVar("Key", bound=Hashable)


def fuse(
    legs: Sequence[Sequence[tuple[Key, float]]], fusion: Fusion, bm25_weight: float = 1.0
) -> Sequence[tuple[Key, float]]:
    """Join what the legs of a search found; one alone keeps its scores.

    Args:
        legs: (key, score) pairs of each leg, best first, each key at most once in a leg; of two, the dense one first.
        fusion: How.
        bm25_weight: What the question's wording multiplies the BM25 leg's weight by.

    Returns:
        (key, score) pairs, best first; equal scores keep the order of first appearance.
    """
    if len(legs) == 1:
        return legs[0]
    weights = [1.0, bm25_weight * BM25_WEIGHTS[fusion]][: len(legs)]
    if fusion == "relative_score":
        return relative_score_fusion(legs, weights)
    return reciprocal_rank_fusion([[key for key, _ in leg] for leg in legs], RRF_K, weights)


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
    return _best_first(scores)


def relative_score_fusion(
    legs: Sequence[Sequence[tuple[Key, float]]], weights: Sequence[float]
) -> list[tuple[Key, float]]:
    """Fuse scores: score(d) = sum over legs of weight * (score of d - lowest) / (best - lowest) in the leg.

    So a leg's best counts as its weight, and its last as nothing, like what the leg didn't find. Where all scores of a
    leg are equal, as that of a single candidate is, each counts as the weight. Source: min-max normalisation and a
    convex combination, Bruch, Gai & Ingber, TOIS 2023; equal scores as Weaviate's `relativeScoreFusion` has them.

    Args:
        legs: (key, score) pairs of each leg in any order, each key at most once in a leg; of any range.
        weights: One for each leg.

    Returns:
        (key, score) pairs, best first; equal scores keep the order of first appearance.
    """
    scores: dict[Key, float] = {}
    for leg, weight in zip(legs, weights, strict=True):
        held = [score for _, score in leg]
        lowest, best = min(held, default=0.0), max(held, default=0.0)
        for key, score in leg:
            share = (score - lowest) / (best - lowest) if best > lowest else 1.0
            scores[key] = scores.get(key, 0.0) + weight * share
    return _best_first(scores)


def _best_first(scores: dict[Key, float]) -> list[tuple[Key, float]]:
    return sorted(scores.items(), key=lambda item: -item[1])
