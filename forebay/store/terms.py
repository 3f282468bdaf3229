"""Terms: a document's own fields as one list of strings, which an index finds fast whatever the fields are called."""

import json
from collections.abc import Mapping
from typing import Any

from forebay.store.filters import MAX_VALUE_CHARS, METADATA, Scalar

__all__ = ["METADATA_TERMS", "field_term", "metadata_terms"]

METADATA_TERMS = "metadata_terms"
"""Name of the list in an index."""

# From here on neighbouring integers are the same float64.
_FIRST_INEXACT = 2**53


def metadata_terms(metadata: Mapping[str, Any]) -> list[str]:
    """Give the terms of a document: each field's name, and its name with its value, or with every value of a list.

    A value that is longer than what a filter can ask for has no term: indexes refuse very long ones.
    """
    terms: list[str] = []
    for name, held in metadata.items():
        values: list[Any] = held if isinstance(held, list) else [held]
        values = [value for value in values if value is not None]
        terms += [_term(name)] if values else []
        terms += [_term(name, v) for v in values if not isinstance(v, str) or len(v) <= MAX_VALUE_CHARS]
    return list(dict.fromkeys(terms))


def field_term(field: str, *value: Scalar) -> str:
    """Give the term of `metadata.<name>`: that it exists or, with a value, that it has this one."""
    return _term(field.removeprefix(METADATA), *value)


def _term(name: str, *value: Any) -> str:
    # JSON of both: whatever stands in a name, no two fields have a term in common. 1 and 1.0 are the same number.
    plain = [int(v) if isinstance(v, float) and v.is_integer() and abs(v) < _FIRST_INEXACT else v for v in value]
    return json.dumps([name, *plain], ensure_ascii=False)
