import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forebay.store.filters import InRange
from forebay.store.range_terms import range_terms, terms_within

_NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20)
_BOUNDS = {"gt": lambda n, b: n > b, "gte": lambda n, b: n >= b, "lt": lambda n, b: n < b, "lte": lambda n, b: n <= b}
_MAX = 1.7976931348623157e308


@settings(max_examples=500, deadline=None)
@given(number=_NUMBERS, bounds=st.dictionaries(st.sampled_from([*_BOUNDS]), _NUMBERS.map(float), min_size=1))
@example(number=-0.0, bounds={"gte": 0.0})
@example(number=0, bounds={"lt": 5e-324, "gt": -5e-324})
@example(number=2**53 + 1, bounds={"lte": float(2**53)})
@example(number=-_MAX, bounds={"lt": _MAX})
@example(number=_MAX, bounds={"gte": _MAX})
def test_a_number_has_a_term_of_exactly_the_ranges_that_it_is_in(number, bounds):
    is_within = all(_BOUNDS[name](float(number), bound) for name, bound in bounds.items())
    terms = terms_within(InRange("metadata.n", **bounds))
    assert bool(set(terms) & set(range_terms({"n": number}))) == is_within
    assert 0 < len(terms) < 500


@given(number=_NUMBERS, other=_NUMBERS)
def test_a_bound_beside_a_number_parts_it_from_its_neighbour(number, other):
    place, next_one = float(number), math.nextafter(float(number), math.inf)
    own = set(range_terms({"n": place}))
    assert not own & set(terms_within(InRange("metadata.n", gte=next_one)))
    assert own & set(terms_within(InRange("metadata.n", lt=next_one)))
    assert own & set(terms_within(InRange("metadata.n", gte=place, lte=max(place, float(other)))))


def test_one_number_of_a_list_has_to_be_within_all_bounds():
    terms = set(range_terms({"n": [1, "5", 9, None]}))
    assert terms & set(terms_within(InRange("metadata.n", gte=8.5, lt=10)))
    assert not terms & set(terms_within(InRange("metadata.n", gt=1, lt=9)))


def test_no_two_fields_have_a_term_in_common():
    names = ("n", 'n"', 'n": "8', "n.", "m")
    terms = [set(range_terms({name: 3})) for name in names]
    assert len(set().union(*terms)) == sum(map(len, terms))
    # The digits of 3 begin with c00, those of the other with 00.
    assert not terms[0] & set(range_terms({"nc": -1e308}))
    within = set(terms_within(InRange("metadata.n.", gte=3)))
    assert [bool(within & own) for own in terms] == [False, False, False, True, False]


@pytest.mark.parametrize("value", [True, False, "3", None, math.nan, math.inf, 2**63, 10**400, {"a": 3}, [[3]], []])
def test_what_is_no_number_of_64_bits_has_no_terms(value):
    assert range_terms({"n": value}) == []


@pytest.mark.parametrize(("number", "count"), [(0, 2), (1, 4), (2009, 7), (-2009, 7), (0.1, 17)])
def test_round_numbers_have_few_terms(number, count):
    assert len(range_terms({"n": number})) == count


@pytest.mark.parametrize(("bounds", "count"), [({"gte": 2020.0, "lt": 2024.0}, 1), ({"gte": 2020.0}, 31)])
def test_round_ranges_have_few_terms(bounds, count):
    assert len(terms_within(InRange("metadata.n", **bounds))) == count
