"""What the legs of a search found in each shard of a release, merged into one ranking."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, inf, sqrt

from qdrant_edge import ScoredPoint

from forebay.store.fusion import reciprocal_rank_fusion

__all__ = ["Legs", "ShardAnswers", "cut_short", "fused", "share_of"]

# Qdrant adds up a BM25 score in any order, so the same score differs in its last bits from one search to the next.
_EQUAL = 1e-5

ShardAnswers = Sequence[Sequence[ScoredPoint]]
"""What one leg found in each shard, each best first."""
Legs = Mapping[str, ShardAnswers]
"""What each leg found."""


def share_of(limit: int, shards: int) -> int:
    """Give how many of the best of all shards one of them is asked for at first.

    Documents fall on shards by their hash, so what a shard holds of the best is binomial: its mean and four standard
    deviations, and four more where the mean is small.
    """
    mean = limit / shards
    return min(limit, ceil(mean + 4 * sqrt(mean) + 4))


def cut_short(answers: ShardAnswers, share: int, limit: int) -> list[int]:
    """List the shards that gave their whole share and may hold more of the best `limit`."""
    if share == limit:
        return []
    scores = sorted((point.score for answer in answers for point in answer), reverse=True)
    least = scores[limit - 1] - _EQUAL if len(scores) >= limit else -inf
    return [n for n, answer in enumerate(answers) if len(answer) == share and answer[-1].score >= least]


def fused(legs: Legs, limit: int) -> tuple[list[tuple[str, float]], dict[str, int]]:
    """Merge the shards' answers of each leg and fuse the legs: (key, score) pairs, best first, and each key's shard."""
    best = [_best(answers, limit) for answers in legs.values()]
    shard_of = {key: number for leg in best for key, _, number in leg}
    if len(best) == 1:
        return [(key, score) for key, score, _ in best[0]], shard_of
    return reciprocal_rank_fusion([[key for key, _, _ in leg] for leg in best]), shard_of


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
