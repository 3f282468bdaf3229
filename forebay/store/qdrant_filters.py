"""Filters as Qdrant Edge takes them."""

import numpy as np
import qdrant_edge as qdrant
from qdrant_edge import FieldCondition, IsEmptyCondition, MatchAny, MatchValue, RangeFloat

from forebay.store.filters import METADATA, And, AnyOf, Equals, Exists, Filter, InRange, Not, Or, Scalar

__all__ = ["qdrant_key", "to_qdrant_filter"]

# From here on neighbouring integers are the same float64, which is what a range compares.
_FIRST_INEXACT = 2**53

Condition = FieldCondition | IsEmptyCondition | qdrant.Filter


def to_qdrant_filter(where: Filter | None) -> qdrant.Filter | None:
    """Translate a filter; None matches everything."""
    if where is None:
        return None
    condition = _condition(where)
    return condition if isinstance(condition, qdrant.Filter) else qdrant.Filter(must=[condition])


def qdrant_key(field: str) -> str:
    """Name a field in the payload; quoted, because a document may call its own one `a.b` or `a[0]`."""
    return f'{METADATA}"{field.removeprefix(METADATA)}"' if field.startswith(METADATA) else field


def _condition(where: Filter) -> Condition:
    match where:
        case Equals(field, value):
            return _equals(qdrant_key(field), value)
        case AnyOf(field, values):
            return _any_of(qdrant_key(field), values)
        case InRange(field, gt, gte, lt, lte):
            return FieldCondition(key=qdrant_key(field), range=RangeFloat(gt=gt, gte=gte, lt=lt, lte=lte))
        case Exists(field):
            return qdrant.Filter(must_not=[IsEmptyCondition(qdrant_key(field))])
        case And(parts):
            return qdrant.Filter(must=[_condition(part) for part in parts])
        case Or(parts):
            return qdrant.Filter(should=[_condition(part) for part in parts])
        case Not(Exists(field)):
            return IsEmptyCondition(qdrant_key(field))
        case Not(part):
            return qdrant.Filter(must_not=[_condition(part)])


def _equals(key: str, value: Scalar) -> FieldCondition:
    if isinstance(value, str):
        return FieldCondition(key=key, match=MatchValue(value))
    if isinstance(value, bool):
        # qdrant-edge 0.9 takes Python's own booleans for the integers 0 and 1.
        return FieldCondition(key=key, match=MatchValue(np.bool_(value)))  # pyright: ignore[reportArgumentType]
    if isinstance(value, int) and abs(value) >= _FIRST_INEXACT:
        return FieldCondition(key=key, match=MatchValue(value))
    # A range, because a match finds 1 but not 1.0.
    return FieldCondition(key=key, range=RangeFloat(gte=float(value), lte=float(value)))


def _any_of(key: str, values: tuple[str, ...] | tuple[int | float, ...]) -> Condition:
    texts = [value for value in values if isinstance(value, str)]
    if texts:
        return FieldCondition(key=key, match=MatchAny(texts))
    return qdrant.Filter(should=[_equals(key, value) for value in values])
