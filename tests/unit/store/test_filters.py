import math

import pytest

from forebay.errors import FilterError
from forebay.store.filters import And, AnyOf, Equals, Exists, InRange, Not, Or, parse_filter


def nested(levels):
    where = {"source": "a"}
    for _ in range(levels):
        where = {"not": where}
    return where


@pytest.mark.parametrize("where", [None, {}])
def test_no_filter_is_none(where):
    assert parse_filter(where) is None


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"source": "a"}, Equals("source", "a")),
        ({"source": {"eq": "a"}}, Equals("source", "a")),
        ({"source": {"ne": "a"}}, Not(Equals("source", "a"))),
        ({"doc_id": ["1", "2"]}, AnyOf("doc_id", ("1", "2"))),
        ({"metadata.n": {"in": [1, 2.5]}}, AnyOf("metadata.n", (1, 2.5))),
        ({"metadata.flag": True}, Equals("metadata.flag", True)),
        ({"metadata.year": {"gte": 2000, "lt": 2010}}, InRange("metadata.year", gte=2000, lt=2010)),
        ({"metadata.a.b": {"exists": True}}, Exists("metadata.a.b")),
        ({"metadata.a": {"exists": False}}, Not(Exists("metadata.a"))),
        ({"metadata.a": {"gt": 1, "ne": 5}}, And((Not(Equals("metadata.a", 5)), InRange("metadata.a", gt=1)))),
        ({"source": "a", "format": "text"}, And((Equals("source", "a"), Equals("format", "text")))),
        ({"or": [{"source": "a"}, {"source": "b"}]}, Or((Equals("source", "a"), Equals("source", "b")))),
        (
            {"and": [{"source": "a"}], "not": {"uri": "u"}},
            And((And((Equals("source", "a"),)), Not(Equals("uri", "u")))),
        ),
    ],
)
def test_a_filter_is_parsed(where, expected):
    assert parse_filter(where) == expected


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ([], "is no filter"),
        ("source", "is no filter"),
        ({"colour": "red"}, "colour.*doc_id, source, uri, format, language, title or metadata"),
        ({"metadata.": 1}, "unknown field"),
        ({"metadata": {"year": 1}}, "unknown field 'metadata'"),
        ({7: 1}, "unknown field 7"),
        ({'metadata.a"b': 1}, "quotation marks"),
        ({"metadata.a\\b": 1}, "backslashes"),
        ({"metadata." + "x" * 201: 1}, "200 characters"),
        ({"metadata.\ud800": 1}, "200 characters"),
        ({"source": None}, "source.*None"),
        ({"source": 5}, "source.*5.*string"),
        ({"source": True}, "source.*True.*string"),
        ({"source": []}, "source.*1 to 1000"),
        ({"source": ["a", 1]}, "source.*2 values"),
        ({"source": [1, 2]}, "source.*string"),
        ({"source": ["x"] * 1001}, "source.*1001 values.*1000"),
        ({"source": "x" * 4097}, "source.*4097 characters.*4096"),
        ({"source": "\ud800"}, "source.*Unicode"),
        ({"source": {"gte": "a"}}, "source.*range"),
        ({"source": {"exists": True}}, "every chunk has 'source'"),
        ({"metadata.a": None}, "metadata.a.*None"),
        ({"metadata.a": [True]}, "metadata.a"),
        ({"metadata.a": [[1]]}, "metadata.a"),
        ({"metadata.a": {"in": "x"}}, "metadata.a.*'x'"),
        ({"metadata.a": {"eq": ["x"]}}, r"metadata.a.*\['x'\]"),
        ({"metadata.a": {"exists": 1}}, "exists.*metadata.a.*true or false"),
        ({"metadata.a": math.nan}, "metadata.a.*nan.*finite"),
        ({"metadata.a": math.inf}, "metadata.a.*inf.*finite"),
        ({"metadata.a": 2**63}, "metadata.a.*64 bits"),
        ({"metadata.a": 10**5000}, "metadata.a.*64 bits"),
        ({"metadata.year": {}}, "metadata.year.*eq, ne, in, exists, gt, gte, lt, lte"),
        ({"metadata.year": {"above": 2000}}, "metadata.year.*eq, ne, in, exists, gt, gte, lt, lte"),
        ({"metadata.year": {"gte": "2000"}}, "metadata.year.*'2000'.*'gte'"),
        ({"metadata.year": {"gte": True}}, "metadata.year.*True"),
        ({"metadata.year": {"gte": math.nan}}, "metadata.year.*nan"),
        ({"and": []}, "'and'.*at least one"),
        ({"or": {"source": "a"}}, "'or'.*list"),
        ({"or": [{}]}, "is no filter"),
        ({"or": ["source"]}, "'source' is no filter"),
        ({"not": []}, "is no filter"),
        ({"not": {"colour": 1}}, "colour"),
        (nested(8), "deeper than 8"),
        (nested(900), "deeper than 8"),
        ({"or": [{"source": str(n)} for n in range(201)]}, "more than 200"),
        ({"or": [{"source": ["x"] * 1000} for _ in range(11)]}, "more than 10000 values"),
    ],
)
def test_what_is_not_of_the_language_is_a_named_error(where, says):
    with pytest.raises(FilterError, match=says) as caught:
        parse_filter(where)
    # Whatever was sent, the sentence stays one that can be read.
    assert len(str(caught.value)) < 500
    assert str(caught.value).endswith(".")


def test_a_filter_at_every_limit_is_parsed():
    assert parse_filter(nested(7))
    assert parse_filter({"or": [{"source": str(n)} for n in range(200)]})
    assert parse_filter({"or": [{"source": ["x" * 4096] * 1000} for _ in range(10)]})
    assert parse_filter({"metadata.a": [-(2**63), 2**63 - 1]})
