"""Filters as Qdrant Edge takes them.

Every condition is answered by a payload index: reading payloads takes 4 us a point and condition, so that one request
could keep a processor busy for minutes.
"""

from collections.abc import Sequence

import qdrant_edge as qdrant
from qdrant_edge import FieldCondition, IsEmptyCondition, MatchAny, MatchValue, RangeFloat

from forebay.store.access import GROUPS, TENANT
from forebay.store.filters import CHUNK_FIELDS, METADATA, And, AnyOf, Equals, Exists, Filter, InRange, Not, Or, Scalar
from forebay.store.terms import METADATA_TERMS, field_term

__all__ = ["KEYWORD_FIELDS", "needs_terms", "qdrant_key", "to_qdrant_filter"]

KEYWORD_FIELDS = (*CHUNK_FIELDS, TENANT, GROUPS)
"""Fields of strings that have an index of their own; access is asked of every search, and terms take twice as long."""

Condition = FieldCondition | IsEmptyCondition | qdrant.Filter


def to_qdrant_filter(where: Filter | None) -> qdrant.Filter | None:
    """Translate a filter; None matches everything."""
    if where is None:
        return None
    condition = _condition(where)
    return condition if isinstance(condition, qdrant.Filter) else qdrant.Filter(must=[condition])


def needs_terms(where: Filter) -> bool:
    """Say whether a filter is answered by more than `KEYWORD_FIELDS`."""
    match where:
        case And(parts) | Or(parts):
            return any(needs_terms(part) for part in parts)
        case Not(part):
            return needs_terms(part)
        case Equals(field) | AnyOf(field) | InRange(field) | Exists(field):
            return field not in KEYWORD_FIELDS


def qdrant_key(field: str) -> str:
    """Name `metadata.<name>` in the payload, as Qdrant writes it: quoted where a document calls its field `a.b`."""
    return IsEmptyCondition(f'{METADATA}"{field.removeprefix(METADATA)}"').key


def _condition(where: Filter) -> Condition:
    match where:
        case Equals(field, value):
            return _any_of(field, [value])
        case AnyOf(field, values):
            return _any_of(field, values)
        case InRange(field, gt, gte, lt, lte):
            # Not every range has an index of its own: then only the payloads that have the field are read.
            within = FieldCondition(key=qdrant_key(field), range=RangeFloat(gt=gt, gte=gte, lt=lt, lte=lte))
            return qdrant.Filter(must=[_has_term(field_term(field)), within])
        case Not(Exists(field)) if field in KEYWORD_FIELDS:
            return IsEmptyCondition(field)
        case Exists(field) if field in KEYWORD_FIELDS:
            return qdrant.Filter(must_not=[IsEmptyCondition(field)])
        case Exists(field):
            return _has_term(field_term(field))
        case And(parts):
            return qdrant.Filter(must=[_condition(part) for part in parts])
        case Or(parts):
            return qdrant.Filter(should=[_condition(part) for part in parts])
        case Not(part):
            return qdrant.Filter(must_not=[_condition(part)])


def _any_of(field: str, values: Sequence[Scalar]) -> FieldCondition:
    texts = [value for value in values if isinstance(value, str)]
    if field in KEYWORD_FIELDS and len(texts) == len(values):
        return FieldCondition(key=field, match=_one_of(texts))
    return _has_term(*(field_term(field, value) for value in values))


def _has_term(*terms: str) -> FieldCondition:
    return FieldCondition(key=METADATA_TERMS, match=_one_of(terms))


def _one_of(values: Sequence[str]) -> MatchValue | MatchAny:
    # One value is compared, several are looked up: a third quicker where a filter leaves a tenth.
    return MatchValue(values[0]) if len(values) == 1 else MatchAny(list(values))
