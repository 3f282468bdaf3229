"""What every vector store promises of access and filters: no caller is ever given a text that it may not find."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.store.access import EVERYTHING, PUBLIC, Caller
from forebay.store.contract import SearchMode
from tests.filters import CALLERS, DOCUMENTS, FILTERS, matches, may_find
from tests.releases import chunk_rows
from tests.stores import EMBEDDER, search

_RESTRICTED = [
    ("all", "t", "the same words", {}),
    ("acme", "t", "the same words", {"tenant": "acme"}),
    ("globex", "t", "the same words", {"tenant": "globex"}),
    ("acme-hr", "t", "the same words", {"tenant": "acme", "groups": ["hr", "board"]}),
    ("hr", "t", "the same words", {"groups": ["hr"]}),
]


@pytest.fixture(scope="module")
def restricted(store, embedder):
    # More shards than restricted documents: one that holds none is no way around the others.
    documents = _RESTRICTED + [(f"free{n}", "t", "other", {}) for n in range(3)]
    opened = store.open(store.build(chunk_rows(documents, embedder), partitions=8))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        (PUBLIC, {"all"}),
        (Caller("acme"), {"all", "acme"}),
        (Caller("acme", frozenset({"staff"})), {"all", "acme"}),
        (Caller("acme", frozenset({"staff", "board"})), {"all", "acme", "acme-hr"}),
        (Caller("globex", frozenset({"hr"})), {"all", "globex", "hr"}),
        (Caller(None, frozenset({"hr"})), {"all", "hr"}),
        (EVERYTHING, {"all", "acme", "globex", "acme-hr", "hr"}),
    ],
)
def test_a_caller_finds_what_it_may_in_every_leg(restricted, embedder, caller, expected):
    narrow = {"doc_id": [document[0] for document in _RESTRICTED]}
    for mode in SearchMode:
        hits = search(restricted, embedder, "the same words", mode=mode, where=narrow, caller=caller)
        assert {hit.doc_id for hit in hits} == expected
        own = search(restricted, embedder, "words", mode=mode, where={"metadata.tenant": "globex"}, caller=caller)
        assert {hit.doc_id for hit in own} == expected & {"globex"}
    assert restricted.count({"metadata.tenant": {"exists": True}}) == 3


# Four chunks to a document, each with fields and an audience of its own, so that one that a caller may find lies beside
# one that it may not; each is known by its text.
_CHUNKS = [(f"d{n // 4}", title, f"text number {n} odd", held) for n, (_, title, _, held) in enumerate(DOCUMENTS)]


@pytest.fixture(scope="module")
def drawn(store):
    """A release of chunks whose fields, tenants and groups are drawn at random."""
    rows = chunk_rows([(f"c{n}", *chunk[1:]) for n, chunk in enumerate(_CHUNKS)], EMBEDDER)
    for n, row in enumerate(rows):
        row |= {"doc_id": _CHUNKS[n][0], "start_char": n * 100, "end_char": n * 100 + len(row["text"])}
    opened = store.open(store.build(rows[::-1], partitions=3))
    yield opened
    opened.close()


_often = settings(max_examples=200, deadline=None)
_QUESTION = "text number title odd"


@_often
@given(where=FILTERS)
def test_a_filter_finds_exactly_what_a_plain_evaluation_finds(drawn, where):
    expected = {chunk[2] for chunk in _CHUNKS if matches(chunk, where)}
    asked = {"where": where, "caller": EVERYTHING, "mode": SearchMode.DENSE}
    assert {hit.text for hit in search(drawn, EMBEDDER, _QUESTION, top_k=200, **asked)} == expected
    assert drawn.count(where) == len(expected)


_OPTIONS = st.fixed_dictionaries(
    {
        "caller": CALLERS,
        "mode": st.sampled_from(SearchMode),
        "top_k": st.sampled_from([1, 5, 200]),
        "feedback": st.booleans(),
        "diversity": st.sampled_from([0.0, 0.5, 1.0]),
        "neighbours": st.integers(0, 3),
        "section": st.booleans(),
        "fusion": st.sampled_from(["rrf", "relative_score"]),
    }
)


@_often
@given(where=FILTERS | st.just({}), options=_OPTIONS)
def test_no_text_is_one_that_its_caller_may_not_find_and_none_is_missing(drawn, where, options):
    allowed = [chunk for chunk in _CHUNKS if may_find(chunk, options["caller"]) and matches(chunk, where)]
    hits = search(drawn, EMBEDDER, _QUESTION, where=where, **options)
    texts = {hit.text for hit in hits}
    assert texts <= {chunk[2] for chunk in allowed}
    assert len(texts) == len(hits) == min(options["top_k"], len(allowed))
    for hit in hits:
        around = [chunk[2] for chunk in allowed if chunk[0] == hit.doc_id]
        at, count = around.index(hit.text), options["neighbours"]
        assert list(hit.before) == around[max(0, at - count) : at]
        assert list(hit.after) == around[at + 1 : at + 1 + count]
        assert [part.text for part in hit.section] == (around if options["section"] else [])
