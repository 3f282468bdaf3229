from forebay.sources.contract import ReadUnit
from forebay.sources.listing import listing_cursor


def _range(uri, start, version="1"):
    return ReadUnit(uri, "jsonl", version, b"/" + uri.encode(), start, start + 10)


def test_the_cursor_follows_names_and_versions_and_not_how_files_are_divided():
    whole = listing_cursor([_range("a", 0), _range("b", 0)])
    assert listing_cursor([_range("a", 0), _range("a", 10), _range("b", 0)]) == whole
    others = [[_range("a", 0)], [_range("a", 0), _range("c", 0)], [_range("a", 0), _range("b", 0, version="2")]]
    assert whole not in map(listing_cursor, others)
