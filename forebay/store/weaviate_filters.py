"""Filters as Weaviate takes them, and the terms by which it finds a document's own fields.

A collection can't have a property for every field that some document has, so all of a document's fields are terms of
one text array, `METADATA_TERMS`. This property and those of `CHUNK_FIELDS` must be filterable and tokenized as
`field`. Filters need Weaviate 1.33 or later, for `not`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from weaviate.classes.query import Filter as Weaviate
from weaviate.collections.classes.filters import FilterReturn

from forebay.errors import FilterError
from forebay.store.filters import METADATA, And, AnyOf, Equals, Exists, Filter, InRange, Not, Or, Scalar

__all__ = ["METADATA_TERMS", "metadata_terms", "to_weaviate_filter"]

METADATA_TERMS = "metadata_terms"
"""Property of the terms."""

# No filter asks for a longer value (`forebay.store.filters`), and Weaviate's index refuses very long terms.
_MAX_VALUE_CHARS = 4096
# From here on neighbouring integers are the same float64.
_FIRST_INEXACT = 2**53


def metadata_terms(metadata: Mapping[str, Any]) -> list[str]:
    """Give the terms of a document: each field's name, and its name with its value, or with every value of a list."""
    terms: list[str] = []
    for name, held in metadata.items():
        values: list[Any] = held if isinstance(held, list) else [held]
        values = [value for value in values if value is not None]
        terms += [_term(name)] if values else []
        terms += [_term(name, v) for v in values if not isinstance(v, str) or len(v) <= _MAX_VALUE_CHARS]
    return list(dict.fromkeys(terms))


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
            return Weaviate.by_property(METADATA_TERMS).contains_any([_term(field.removeprefix(METADATA))])
        case And(parts):
            return Weaviate.all_of([_translated(part) for part in parts])
        case Or(parts):
            return Weaviate.any_of([_translated(part) for part in parts])
        case Not(part):
            return Weaviate.not_(_translated(part))


def _any_of(field: str, values: Iterable[Scalar]) -> FilterReturn:
    if field.startswith(METADATA):
        name = field.removeprefix(METADATA)
        return Weaviate.by_property(METADATA_TERMS).contains_any([_term(name, value) for value in values])
    return Weaviate.by_property(field).contains_any([str(value) for value in values])


def _term(name: str, *value: Any) -> str:
    # JSON of both: whatever stands in a name, no two fields have a term in common. 1 and 1.0 are the same number.
    plain = [int(v) if isinstance(v, float) and v.is_integer() and abs(v) < _FIRST_INEXACT else v for v in value]
    return json.dumps([name, *plain], ensure_ascii=False)
