"""Filters as Weaviate takes them.

A collection can't have a property for every field that some document has, so it has the `forebay.store.terms` of each
document as the text array `METADATA_TERMS`, and those of its numbers as `RANGE_TERMS`. These properties and those of
`CHUNK_FIELDS` must be filterable and tokenized as `field`. Filters need Weaviate 1.33 or later, for `not`.
"""

from collections.abc import Iterable

from weaviate.classes.query import Filter as Weaviate
from weaviate.collections.classes.filters import FilterReturn

from forebay.errors import FilterError
from forebay.store.filters import METADATA, And, AnyOf, Equals, Exists, Filter, InRange, Not, Or, Scalar
from forebay.store.range_terms import RANGE_TERMS, terms_within
from forebay.store.terms import METADATA_TERMS, field_term

__all__ = ["has_range", "to_weaviate_filter"]

# As many as a filter's lists may hold; every one is looked up in every shard.
_MAX_RANGE_TERMS = 10_000


def to_weaviate_filter(where: Filter | None) -> FilterReturn | None:
    """Translate a filter; None matches everything.

    Raises:
        FilterError: its ranges are too many, each of up to some 500 terms.
    """
    return None if where is None else _Translation().of(where)


def has_range(where: Filter) -> bool:
    """Say whether a filter is answered by `RANGE_TERMS`, too."""
    match where:
        case And(parts) | Or(parts):
            return any(has_range(part) for part in parts)
        case Not(part):
            return has_range(part)
        case _:
            return isinstance(where, InRange)


class _Translation:
    """Counts the terms of one filter's ranges."""

    def __init__(self) -> None:
        self._range_terms = 0

    def of(self, where: Filter) -> FilterReturn:
        match where:
            case Equals(field, value):
                return _any_of(field, [value])
            case AnyOf(field, values):
                return _any_of(field, values)
            case InRange():
                return self._range(where)
            case Exists(field):
                return Weaviate.by_property(METADATA_TERMS).contains_any([field_term(field)])
            case And(parts):
                return Weaviate.all_of([self.of(part) for part in parts])
            case Or(parts):
                return Weaviate.any_of([self.of(part) for part in parts])
            case Not(part):
                return Weaviate.not_(self.of(part))

    def _range(self, where: InRange) -> FilterReturn:
        terms = terms_within(where)
        self._range_terms += len(terms)
        if self._range_terms > _MAX_RANGE_TERMS:
            raise FilterError(
                f"the filter has more ranges than Weaviate can look up at once (at {where.field!r} more than "
                f"{_MAX_RANGE_TERMS} terms); ask for fewer, or with `gte` and `lt` of whole numbers."
            )
        return Weaviate.by_property(RANGE_TERMS).contains_any(terms)


def _any_of(field: str, values: Iterable[Scalar]) -> FilterReturn:
    if field.startswith(METADATA):
        return Weaviate.by_property(METADATA_TERMS).contains_any([field_term(field, value) for value in values])
    return Weaviate.by_property(field).contains_any([str(value) for value in values])
