"""What the legs of a search found, in an order that doesn't change, and joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast
from uuid import UUID

from qdrant_edge import ScoredPoint

from forebay.store.fusion import reciprocal_rank_fusion
from forebay.store.qdrant_build import SPARSE

__all__ = ["Legs", "Ranking", "Scored", "fused", "rank", "scored"]

# Qdrant adds up a BM25 score in any order, so the same score differs in its last bits from one search to the next.
_EQUAL = 1e-5

Scored = Sequence[tuple[UUID, float]]
"""Ids of chunks with their scores, best first; written out, each id would take another microsecond."""
Legs = Mapping[str, Scored]
"""What each leg found, by the leg's name."""


@dataclass(frozen=True)
class Ranking:
    """What one round of a search found in the whole release."""

    legs: Legs
    """Equal scores of a leg are in the order of their ids."""
    fused: Scored
    """The legs' rankings joined; what lacks a quoted phrase is gone."""


def scored(answers: Sequence[ScoredPoint]) -> Scored:
    """Read what the index answered."""
    return [(cast("UUID", point.id), point.score) for point in answers]


def rank(legs: Legs, bm25_weight: float) -> Ranking:
    """Put each leg's answers in order, and fuse the legs by rank."""
    ordered = {name: _ordered(found) for name, found in legs.items()}
    return Ranking(ordered, fused(ordered, bm25_weight))


def fused(legs: Legs, bm25_weight: float) -> Scored:
    """Fuse the legs' rankings by rank, the dense one with weight 1; one alone keeps its scores."""
    if len(legs) == 1:
        (alone,) = legs.values()
        return alone
    weights = [bm25_weight if name == SPARSE else 1.0 for name in legs]
    return reciprocal_rank_fusion([[key for key, _ in leg] for leg in legs.values()], weights=weights)


def _ordered(found: Scored) -> Scored:
    """Put equal scores in the order of their keys."""
    group = 0
    groups = [group := group + (before - after > _EQUAL) for (_, before), (_, after) in pairwise(found)]
    if group == len(groups):
        return found
    ordered = sorted(zip([0, *groups], found, strict=False), key=lambda item: (item[0], item[1][0]))
    return [item for _, item in ordered]
