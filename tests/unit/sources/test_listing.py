from forebay.sources.contract import ReadUnit
from forebay.sources.listing import listing_cursor
from forebay.sources.unit_list import UnitList


def _range(uri, start, version="1"):
    return ReadUnit(uri, "jsonl", version, b"/" + uri.encode(), start, start + 10)


def _cursor(units):
    return listing_cursor(UnitList.of(units))


def test_the_cursor_follows_names_and_versions_and_not_how_files_are_divided():
    whole = _cursor([_range("a", 0), _range("b", 0)])
    assert _cursor([_range("a", 0), _range("a", 10), _range("b", 0)]) == whole
    others = [[_range("a", 0)], [_range("a", 0), _range("c", 0)], [_range("a", 0), _range("b", 0, version="2")]]
    assert whole not in map(_cursor, others)
