import pickle

import pytest

from forebay.sources import unit_list
from forebay.sources.contract import ReadUnit
from forebay.sources.unit_list import UnitList


@pytest.fixture
def units():
    return [ReadUnit(f"ü{n}", "jsonl", f"v{n}", b"\xff" * n, n, n + 1) for n in range(7)]


def test_it_is_the_sequence_that_it_was_made_of(units, monkeypatch):
    monkeypatch.setattr(unit_list, "_BATCH_UNITS", 3)
    found = UnitList.of(iter(units))
    assert list(found) == units
    assert len(found) == 7
    assert (found[2], found[-1]) == (units[2], units[-1])
    assert list(found[1:6:2]) == units[1:6:2]
    assert found == UnitList.of(units) == pickle.loads(pickle.dumps(found))
    assert found != UnitList.of(units[:-1])
    with pytest.raises(IndexError):
        found[7]


def test_none_are_a_sequence_too():
    assert not UnitList.of([])
    assert list(UnitList.of([])) == []


def test_one_is_not_made_again(units):
    found = UnitList.of(units)
    assert UnitList.of(found) is found
