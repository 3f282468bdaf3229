"""What the legs of a search found in each shard of a release, merged into one ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf, sqrt

from qdrant_edge import ScoredPoint

from forebay.store.fusion import reciprocal_rank_fusion
from forebay.store.qdrant_build import SPARSE

__all__ = ["Legs", "Ranking", "Scored", "ShardAnswers", "cut_short", "fused", "rank", "share_of"]

# Qdrant adds up a BM25 score in any order, so the same score differs in its last bits from one search to the next.
_EQUAL = 1e-5

ShardAnswers = Sequence[Sequence[ScoredPoint]]
"""What one leg found in each shard, each best first."""
Legs = Mapping[str, ShardAnswers]
"""What each leg found."""
Scored = Sequence[tuple[str, float]]
"""Ids of chunks with their scores, best first."""


@dataclass(frozen=True)
class Ranking:
    """What one round of a search found in the whole release."""

    legs: Mapping[str, Scored]
    """Each leg's ranking, by the leg's name."""
    fused: Scored
    """The legs' rankings joined; what lacks a quoted phrase is gone."""
    shard_of: Mapping[str, int]
    """Position of the shard that holds a chunk."""


def share_of(limit: int, shards: int) -> int:
    """Give how many of the best of all shards one of them is asked for at first.

    Documents fall on shards by their hash, so what a shard holds of the best is binomial: its mean and three standard
    deviations. Whoever holds more is asked again (`cut_short`), as may happen where a long document's chunks are found.
    """
    mean = limit / shards
    return min(limit, ceil(mean + 3 * sqrt(mean * (1 - 1 / shards))))


def cut_short(answers: ShardAnswers, share: int, limit: int) -> list[int]:
    """List the shards that gave their whole share and may hold more of the best `limit`."""
    if share == limit:
        return []
    scores = sorted((point.score for answer in answers for point in answer), reverse=True)
    least = scores[limit - 1] - _EQUAL if len(scores) >= limit else -inf
    return [n for n, answer in enumerate(answers) if len(answer) == share and answer[-1].score >= least]


def rank(legs: Legs, limit: int, bm25_weight: float) -> Ranking:
    """Merge the shards' answers of each leg by score, and fuse the legs by rank."""
    best = {name: _best(answers, limit) for name, answers in legs.items()}
    shard_of = {key: number for leg in best.values() for key, _, number in leg}
    scored = {name: [(key, score) for key, score, _ in leg] for name, leg in best.items()}
    return Ranking(scored, fused(scored, bm25_weight), shard_of)


def fused(legs: Mapping[str, Scored], bm25_weight: float) -> Scored:
    """Fuse the legs' rankings by rank, the dense one with weight 1; one alone keeps its scores."""
    if len(legs) == 1:
        (alone,) = legs.values()
        return alone
    weights = [bm25_weight if name == SPARSE else 1.0 for name in legs]
    return reciprocal_rank_fusion([[key for key, _ in leg] for leg in legs.values()], weights=weights)


def _best(answers: ShardAnswers, limit: int) -> list[tuple[str, float, int]]:
    """Merge what the shards found: (key, score, shard number), best first, equal scores by key.

    Keys are made of the best only: Qdrant builds a UUID for each, 3 us, and the shards together find many more.
    """
    scores = sorted((point.score for answer in answers for point in answer), reverse=True)
    least = scores[min(limit, len(scores)) - 1] - _EQUAL if scores else 0.0
    found = [
        (str(point.id), float(point.score), number)
        for number, answer in enumerate(answers)
        for point in answer
        if point.score >= least
    ]
    found.sort(key=lambda item: -item[1])
    group = 0
    groups = [group := group + (before[1] - after[1] > _EQUAL) for before, after in pairwise(found)]
    ordered = sorted(zip([0, *groups], found, strict=False), key=lambda item: (item[0], item[1][0]))
    return [item for _, item in ordered[:limit]]
