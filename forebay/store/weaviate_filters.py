"""Filters as Weaviate takes them.

A collection can't have a property for every field that some document has, so it has the `forebay.store.terms` of each
document as the text array `METADATA_TERMS`. This property and those of `CHUNK_FIELDS` must be filterable and tokenized
as `field`. Filters need Weaviate 1.33 or later, for `not`.
"""

from collections.abc import Iterable

from weaviate.classes.query import Filter as Weaviate
from weaviate.collections.classes.filters import FilterReturn

from forebay.errors import FilterError
from forebay.store.filters import METADATA, And, AnyOf, Equals, Exists, Filter, InRange, Not, Or, Scalar
from forebay.store.terms import METADATA_TERMS, field_term

__all__ = ["to_weaviate_filter"]


def to_weaviate_filter(where: Filter | None) -> FilterReturn | None:
    """Translate a filter; None matches everything.

    Raises:
        FilterError: it has a range, which terms can't answer.
    """
    return None if where is None else _translated(where)


def _translated(where: Filter) -> FilterReturn:
    match where:
        case Equals(field, value):
            return _any_of(field, [value])
        case AnyOf(field, values):
            return _any_of(field, values)
        case InRange(field):
            raise FilterError(
                f"the filter on {field!r} is a range, which the Weaviate store can't answer; list the values instead."
            )
        case Exists(field):
            return Weaviate.by_property(METADATA_TERMS).contains_any([field_term(field)])
        case And(parts):
            return Weaviate.all_of([_translated(part) for part in parts])
        case Or(parts):
            return Weaviate.any_of([_translated(part) for part in parts])
        case Not(part):
            return Weaviate.not_(_translated(part))


def _any_of(field: str, values: Iterable[Scalar]) -> FilterReturn:
    if field.startswith(METADATA):
        return Weaviate.by_property(METADATA_TERMS).contains_any([field_term(field, value) for value in values])
    return Weaviate.by_property(field).contains_any([str(value) for value in values])
