"""What the legs of a search found, in an order that doesn't change, and joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast
from uuid import UUID

from qdrant_edge import ScoredPoint

from forebay.store.fusion import Fusion, fuse

__all__ = ["Legs", "Ranking", "Scored", "rank", "scored"]

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


def rank(legs: Legs, fusion: Fusion, bm25_weight: float) -> Ranking:
    """Put each leg's answers in order, and fuse the legs, the dense one of which comes first."""
    ordered = {name: _ordered(found) for name, found in legs.items()}
    joined = list(ordered.values())
    if fusion == "relative_score" and len(legs) > 1:
        joined = [_ordered(_levelled(found)) for found in legs.values()]
    return Ranking(ordered, fuse(joined, fusion, bm25_weight))


def _levelled(found: Scored) -> Scored:
    """Give equal scores the first one's value, or a leg of equal scores would have their last bits as its range."""
    level = dict(found)
    for (key, before), (lower_key, after) in pairwise(found):
        if before - after <= _EQUAL:
            level[lower_key] = level[key]
    return list(level.items())


def _ordered(found: Scored) -> Scored:
    """Put equal scores in the order of their keys."""
    group = 0
    groups = [group := group + (before - after > _EQUAL) for (_, before), (_, after) in pairwise(found)]
    if group == len(groups):
        return found
    ordered = sorted(zip([0, *groups], found, strict=False), key=lambda item: (item[0], item[1][0]))
    return [item for _, item in ordered]
