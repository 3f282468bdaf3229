import pytest

from forebay.errors import FilterError
from forebay.store.filters import to_qdrant_filter


@pytest.mark.parametrize("where", [None, {}])
def test_no_filter_is_none(where):
    assert to_qdrant_filter(where) is None


def test_every_field_must_match():
    translated = to_qdrant_filter({"source": "a", "metadata.year": {"gte": 2000, "lt": 2010}, "doc_id": ["1", "2"]})
    assert [condition.key for condition in translated.must] == ["source", "metadata.year", "doc_id"]
    assert (translated.must[1].range.gte, translated.must[1].range.lt) == (2000, 2010)


@pytest.mark.parametrize(
    "where",
    [
        {"colour": "red"},
        {"source": None},
        {"source": []},
        {"source": ["a", 1]},
        {"source": [True]},
        {"source": ["x"] * 1001},
        {"metadata.year": {}},
        {"metadata.year": {"gte": "2000"}},
        {"metadata.year": {"above": 2000}},
        {"metadata.year": {"gte": True}},
    ],
)
def test_what_cannot_be_translated_is_a_named_error(where):
    with pytest.raises(FilterError, match=next(iter(where))):
        to_qdrant_filter(where)
