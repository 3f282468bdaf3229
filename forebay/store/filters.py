"""The metadata filter language and its translation into Qdrant's.

A filter is a JSON object; all of its fields must match::

    {"source": "handbook", "format": ["md", "html"], "metadata.year": {"gte": 2020, "lt": 2024}}

A scalar means equal, a list means any of, an object with `gt`, `gte`, `lt`, `lte` means a numeric range.
"""

from collections.abc import Mapping
from typing import Any

from qdrant_edge import FieldCondition, Filter, MatchAny, MatchValue, RangeFloat

from forebay.errors import FilterError

__all__ = ["FILTER_FIELDS", "to_qdrant_filter"]

FILTER_FIELDS = ("doc_id", "source", "uri", "format", "language", "title")
"""Fields that every chunk has; `metadata.<name>` reaches the document's own."""

_RANGE_OPERATORS = {"gt", "gte", "lt", "lte"}
_MAX_VALUES = 1000


def to_qdrant_filter(where: Mapping[str, Any] | None) -> Filter | None:
    """Translate a filter; None or an empty one matches everything.

    Raises:
        FilterError: an unknown field, or a value that is no scalar, list of scalars, or range.
    """
    if not where:
        return None
    return Filter(must=[_condition(name, value) for name, value in where.items()])


def _condition(name: str, value: Any) -> FieldCondition:
    if name not in FILTER_FIELDS and not name.startswith("metadata."):
        raise FilterError(
            f"the filter names an unknown field {name!r}; use one of {', '.join(FILTER_FIELDS)} or metadata.<name>."
        )
    if isinstance(value, Mapping):
        return FieldCondition(key=name, range=_range(name, value))
    if isinstance(value, list):
        return FieldCondition(key=name, match=_any_of(name, value))
    # Qdrant matches integers, strings and booleans; a float is a range of one point.
    if isinstance(value, float):
        return FieldCondition(key=name, range=RangeFloat(gte=value, lte=value))
    if isinstance(value, str | int):
        return FieldCondition(key=name, match=MatchValue(value))
    raise FilterError(f"the filter on {name!r} is {value!r}; it must be a scalar, a list of scalars, or a range.")


def _any_of(name: str, values: list[Any]) -> MatchAny:
    same_type = values and (
        all(isinstance(v, str) for v in values) or all(isinstance(v, int) and not isinstance(v, bool) for v in values)
    )
    if not same_type or len(values) > _MAX_VALUES:
        raise FilterError(
            f"the filter on {name!r} must list 1 to {_MAX_VALUES} strings or integers, all of one type; "
            f"it lists {len(values)} values."
        )
    return MatchAny(values)


def _range(name: str, bounds: Mapping[str, Any]) -> RangeFloat:
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in bounds.values())
    if not bounds or not set(bounds) <= _RANGE_OPERATORS or not numeric:
        raise FilterError(
            f"the range on {name!r} is {dict(bounds)!r}; it must be an object with numbers for some of "
            f"{', '.join(sorted(_RANGE_OPERATORS))}."
        )
    return RangeFloat(**{key: float(value) for key, value in bounds.items()})
