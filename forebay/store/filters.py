"""The metadata filter language: a JSON object, parsed into a validated tree that every store translates.

All fields of an object must match::

    {"source": "handbook", "format": ["md", "html"], "metadata.year": {"gte": 2020, "lt": 2024}}
    {"or": [{"metadata.team": "turbines"}, {"not": {"metadata.draft": {"exists": true}}}]}

`docs/filters.md` has the whole language.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

from forebay.errors import FilterError

__all__ = [
    "CHUNK_FIELDS",
    "MAX_VALUE_CHARS",
    "METADATA",
    "And",
    "AnyOf",
    "Equals",
    "Exists",
    "Filter",
    "InRange",
    "Not",
    "Or",
    "Scalar",
    "is_number",
    "parse_filter",
]

CHUNK_FIELDS = ("doc_id", "source", "uri", "format", "language", "title")
"""Fields that every chunk has, all of them strings."""
METADATA = "metadata."
"""What comes before the name of one of the document's own fields."""
MAX_VALUE_CHARS = 4096
"""Longest string that a field can be compared with."""

_RANGE = ("gt", "gte", "lt", "lte")
_OPERATORS = ("eq", "ne", "in", "exists", *_RANGE)
_MAX_DEPTH = 8
_MAX_CONDITIONS = 200
_MAX_VALUES = 1000
_MAX_ALL_VALUES = 10_000
_MAX_NAME_CHARS = 200
# What every store compares exactly.
_MAX_INT = 2**63

Scalar = str | bool | int | float


@dataclass(frozen=True)
class Equals:
    """The field has the value, or is a list that holds it; 1 and 1.0 are equal, 1 and true are not."""

    field: str
    value: Scalar


@dataclass(frozen=True)
class AnyOf:
    """The field has one of the values: all strings, or all numbers."""

    field: str
    values: tuple[str, ...] | tuple[int | float, ...]


@dataclass(frozen=True)
class InRange:
    """The field is a number within the bounds that are set."""

    field: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True)
class Exists:
    """The document has the field, and it is no empty list."""

    field: str


@dataclass(frozen=True)
class And:
    """All of the parts match."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class Or:
    """One of the parts matches."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class Not:
    """The part doesn't match; so a field that isn't there is not equal to anything."""

    part: "Filter"


Filter = Equals | AnyOf | InRange | Exists | And | Or | Not


def parse_filter(where: Mapping[str, Any] | None) -> Filter | None:
    """Parse and validate a filter; None or an empty one matches everything.

    Raises:
        FilterError: it is not of the language, a field is unknown, a value has the wrong type, or it is too large.
    """
    if where is None or where == {}:
        return None
    return _Parser().parse(where, depth=1)


class _Repr(Repr):
    """Keeps what was sent short in a message."""

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write very long ones.
        return super().repr_int(x, level) if abs(x) < 2**64 else f"<a number of {x.bit_length()} bits>"


_repr = _Repr()
_repr.maxstring = _repr.maxother = 80


class _Parser:
    """Counts the conditions of one filter, and the values that its lists hold."""

    def __init__(self) -> None:
        self._conditions = 0
        self._values = 0

    def parse(self, where: Any, depth: int) -> Filter:
        if not isinstance(where, Mapping) or not where:
            raise FilterError(
                f"{_repr.repr(where)} is no filter; write an object with at least one field, `and`, `or` or `not`."
            )
        if depth > _MAX_DEPTH:
            raise FilterError(f"the filter is nested deeper than {_MAX_DEPTH} levels; write it flatter.")
        return _all_of([self._part(name, value, depth) for name, value in where.items()])

    def _part(self, name: Any, value: Any, depth: int) -> Filter:
        if name == "not":
            return Not(self.parse(value, depth + 1))
        if name in ("and", "or"):
            if not isinstance(value, list) or not value:
                raise FilterError(f"{name!r} has {_repr.repr(value)}; give it a list of at least one filter.")
            parts = tuple(self.parse(part, depth + 1) for part in value)
            return And(parts) if name == "and" else Or(parts)
        return self._field(_known(name), value)

    def _field(self, name: str, value: Any) -> Filter:
        if isinstance(value, list):
            operators: Mapping[Any, Any] = {"in": value}
        else:
            operators = value if isinstance(value, Mapping) else {"eq": value}
        unknown = [operator for operator in operators if operator not in _OPERATORS]
        if unknown or not operators:
            raise FilterError(
                f"the filter on {name!r} is {_repr.repr(value)}; give it a value, a list of values, or an object with "
                f"some of {', '.join(_OPERATORS)}."
            )
        conditions = [_condition(name, op, operand) for op, operand in operators.items() if op not in _RANGE]
        bounds = {op: _bound(name, op, operand) for op, operand in operators.items() if op in _RANGE}
        if bounds:
            conditions.append(InRange(name, **bounds))
        self._conditions += len(conditions)
        if self._conditions > _MAX_CONDITIONS:
            raise FilterError(
                f"the filter has more than {_MAX_CONDITIONS} conditions; use a list of values instead of many `or`s."
            )
        self._values += sum(len(condition.values) for condition in conditions if isinstance(condition, AnyOf))
        if self._values > _MAX_ALL_VALUES:
            raise FilterError(f"the filter's lists hold more than {_MAX_ALL_VALUES} values in all; ask for fewer.")
        return _all_of(conditions)


def _all_of(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _known(name: Any) -> str:
    if name in CHUNK_FIELDS:
        return name
    own = name.removeprefix(METADATA) if isinstance(name, str) else ""
    if not own or own == name:
        raise FilterError(
            f"the filter names an unknown field {_repr.repr(name)}; use one of {', '.join(CHUNK_FIELDS)} or "
            "metadata.<name>."
        )
    # Qdrant's paths have no way to write these two.
    if len(own) > _MAX_NAME_CHARS or '"' in own or "\\" in own or not _is_unicode(own):
        raise FilterError(
            f"the filter names the field {_repr.repr(name)}; only a name of at most {_MAX_NAME_CHARS} characters "
            "without quotation marks and backslashes can be filtered by."
        )
    return name


def _condition(name: str, operator: str, operand: Any) -> Filter:
    if operator == "in":
        return AnyOf(name, _values(name, operand))
    if operator != "exists":
        equals = Equals(name, _scalar(name, operand))
        return equals if operator == "eq" else Not(equals)
    if not name.startswith(METADATA):
        raise FilterError(f"every chunk has {name!r}; ask whether a field exists of metadata.<name> only.")
    if not isinstance(operand, bool):
        raise FilterError(f"`exists` of {name!r} is {_repr.repr(operand)}; it must be true or false.")
    return Exists(name) if operand else Not(Exists(name))


def _values(name: str, operand: Any) -> Any:
    values: list[Any] = operand if isinstance(operand, list) else []
    has_one_type = all(isinstance(v, str) for v in values) or all(is_number(v) for v in values)
    if not 0 < len(values) <= _MAX_VALUES or not has_one_type:
        found = f"{len(values)} values" if values else _repr.repr(operand)
        raise FilterError(
            f"the filter on {name!r} lists {found}; it must list 1 to {_MAX_VALUES} strings, or as many numbers."
        )
    return tuple(_scalar(name, value) for value in values)


def _scalar(name: str, value: Any) -> Scalar:
    if isinstance(value, str):
        if len(value) > MAX_VALUE_CHARS or not _is_unicode(value):
            raise FilterError(
                f"the filter on {name!r} has a string of {len(value)} characters; it must be proper Unicode of at most "
                f"{MAX_VALUE_CHARS} characters."
            )
        return value
    if not name.startswith(METADATA):
        raise FilterError(f"the filter on {name!r} is {_repr.repr(value)}; the field is a string, compare it with one.")
    if not isinstance(value, bool) and not is_number(value):
        raise FilterError(
            f"the filter on {name!r} is {_repr.repr(value)}; it must be a string, true, false, or a finite number "
            "of 64 bits."
        )
    return value


def _bound(name: str, operator: str, value: Any) -> float:
    if not name.startswith(METADATA):
        raise FilterError(f"the filter on {name!r} has a range; the field is a string, compare it with strings.")
    if not is_number(value):
        raise FilterError(
            f"the range on {name!r} has {_repr.repr(value)} for {operator!r}; it must be a finite number of 64 bits."
        )
    return float(value)


def is_number(value: Any) -> bool:
    """Say whether a value is a number that filters know: finite, of 64 bits, and no boolean."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and -_MAX_INT <= value < _MAX_INT


def _is_unicode(text: str) -> bool:
    # JSON may spell lone surrogates, which no index holds.
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
