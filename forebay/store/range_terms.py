"""Numbers as terms: any range over any field is answered by a list of strings, as equality is by `terms`.

A number is a path of 16 hexadecimal digits, which sort as the numbers do, and has a term for each beginning of it. A
range is the beginnings that cover it and nothing else: one term for all that have it in common.
Source: the trie of Lucene's numeric fields (Schindler & Diepenbroek, Computers & Geosciences 34, 2008), 4 bits a step.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from forebay.store.filters import METADATA, InRange, is_number

__all__ = ["RANGE_TERMS", "range_terms", "terms_within"]

RANGE_TERMS = "range_terms"
"""Name of the list in an index."""

_DIGITS = 16
_PLACE_OF_ZERO = 2**63
_END = 2**64


def range_terms(metadata: Mapping[str, Any]) -> list[str]:
    """Give the terms of a document's numbers, those in lists included: 4 of a 1, 7 of 2009, 17 at most."""
    terms: list[str] = []
    for name, held in metadata.items():
        numbers = [float(value) for value in (held if isinstance(held, list) else [held]) if is_number(value)]
        terms += [_term(name, beginning) for number in numbers for beginning in _beginnings(number)]
    return list(dict.fromkeys(terms))


def terms_within(where: InRange) -> list[str]:
    """Give the terms of which every document has one that a range matches, and no other document has any.

    31 for what is at least 2020, fewer than 500 for any (15 at each step up from a bound). Where no number can match,
    it is a term that nothing has.
    """
    name = where.field.removeprefix(METADATA)
    low = max(0 if where.gt is None else _place(where.gt) + 1, 0 if where.gte is None else _place(where.gte))
    high = min(_END if where.lt is None else _place(where.lt), _END if where.lte is None else _place(where.lte) + 1)
    found: list[str] = []
    for block in _blocks(low, high):
        found.append(_term(name, block))
        if block.endswith("0"):
            # The number that begins the block has no term of its zeros.
            found.append(_term(name, _whole(block)))
    return found or [_term(name, "")]


def _place(number: float) -> int:
    """Give the place of a number among all float64, from 0 on; both zeros have the same."""
    (magnitude,) = struct.unpack("<Q", struct.pack("<d", abs(number)))
    return _PLACE_OF_ZERO - magnitude if number < 0 else _PLACE_OF_ZERO + magnitude


def _beginnings(number: float) -> list[str]:
    """Give the beginnings of a number's digits up to the zeros, which most numbers end with, and all of it."""
    whole = _whole(f"{_place(number):0{_DIGITS}x}")
    return [whole[:length] for length in range(1, len(whole))] + [whole]


def _whole(digits: str) -> str:
    return f"{digits.rstrip('0')}."


def _blocks(low: int, high: int) -> Iterator[str]:
    """Cut the places from `low` to before `high` into the fewest blocks that have their first digits to themselves."""
    while low < high:
        length = _DIGITS
        while length > 1 and low % (size := 16 ** (_DIGITS - length + 1)) == 0 and low + size <= high:
            length -= 1
        size = 16 ** (_DIGITS - length)
        yield f"{low // size:0{length}x}"
        low += size


def _term(name: str, digits: str) -> str:
    # JSON: whatever stands in a name, no two fields have a term in common.
    return json.dumps({name: digits}, ensure_ascii=False)
