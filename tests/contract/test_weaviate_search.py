"""What a search asks a Weaviate cluster, and what it makes of its answers."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from weaviate.proto.v1 import base_pb2

from forebay.errors import FilterError, ReleaseError
from forebay.store import weaviate_neighbours
from forebay.store.access import EVERYTHING, PUBLIC, Caller
from forebay.store.contract import SearchMode, SearchRequest
from tests.releases import chunk_rows, sectioned_rows
from tests.weaviate_cluster import EMBEDDER, ROWS, request
from tests.weaviate_wire import Fault, packed


def test_a_hybrid_search_fuses_both_legs_by_rank(wire, cluster):
    (hits,) = cluster().search([request("study number17", top_k=5)])
    assert hits[0].doc_id == "d17"
    # A short question with an identifier trusts the words.
    assert hits[0].score == pytest.approx(1 / 61 + 5 / 61)
    assert hits[0].metadata == {"year": 1967}
    assert hits[0].similarity == pytest.approx(float(ROWS[17]["vector"] @ request("study number17").vector), abs=1e-5)
    dense, words = sorted(wire.searches, key=lambda search: search.HasField("bm25_search"))
    assert dense.near_vector.vectors[0].vector_bytes == packed(request("study number17").vector)
    assert (words.bm25_search.query, list(words.bm25_search.properties)) == (
        "study number17",
        ["title_words", "heading_path", "text"],
    )
    assert {search.consistency_level for search in wire.searches} == {base_pb2.CONSISTENCY_LEVEL_ONE}


@pytest.mark.parametrize("mode", SearchMode)
def test_one_leg_or_both_are_asked_and_every_hit_of_a_vector_search_has_a_similarity(wire, cluster, mode):
    (hits,) = cluster().search([request("number17", mode=mode)])
    assert len(wire.searches) == (2 if mode == SearchMode.HYBRID else 1)
    assert hits[0].doc_id == "d17"
    assert all((hit.similarity is None) == (mode == SearchMode.BM25) for hit in hits)


@pytest.mark.parametrize("caller", [PUBLIC, Caller("acme"), Caller("acme", frozenset({"a", "b"}))])
@pytest.mark.parametrize("where", [{}, {"or": [{"source": "tests"}, {"metadata.year": [1950, 1951]}]}])
def test_what_the_caller_may_find_is_in_every_question(wire, cluster, caller, where):
    opened = cluster()
    requests = [request("wing lift", caller=caller, where=where, mode=mode, top_k=350) for mode in SearchMode]
    for hits in opened.search(requests):
        tenants = {hit.metadata.get("tenant") for hit in hits}
        assert tenants == ({None} if caller == PUBLIC else {None, "acme"})
    assert len(wire.searches) == 4
    for search in wire.searches:
        access = search.filters.filters[1 if where else 0 :]
        assert search.filters.operator == base_pb2.Filters.OPERATOR_AND
        assert '["tenant"]' in str(access).replace("\\", "")
        assert '["groups"]' in str(access).replace("\\", "")


def _rows(*documents):
    return chunk_rows(list(documents), EMBEDDER)


def test_a_question_without_identifiers_weighs_both_legs_alike(cluster):
    (hits,) = cluster(ROWS[:20]).search([request("title 7 wing")])
    assert hits[0].score == pytest.approx(1 / 61 + 1 / 61, abs=1 / 61 / 20)


def test_hits_have_to_hold_a_quoted_phrase_that_anything_holds(wire, cluster):
    rows = _rows(
        *[(f"n{n}", "", f"wave shock {n}", {}) for n in range(60)],
        ("text", "", "of a Shock wave", {}),
        ("title", "The shock WAVE", "compression", {}),
    )
    opened = cluster(rows)
    for mode in (SearchMode.HYBRID, SearchMode.BM25):
        (hits,) = opened.search([request('a "shock wave"', mode=mode)])
        assert {hit.doc_id for hit in hits} == {"text", "title"}
    # The words are common: so many candidates are asked for that those who hold the phrase are among them.
    assert {search.limit for search in wire.searches} == {200}
    assert len(opened.search([request('a "shock wave"', mode=SearchMode.DENSE)])[0]) == 10
    assert len(opened.search([request('a "wave entropy shock"')])[0]) == 10
    assert opened.search([request('"shock wave"', where={"doc_id": ["n1"]})])[0][0].doc_id == "n1"


@pytest.mark.parametrize("mode", SearchMode)
def test_diverse_hits_do_not_say_the_same(cluster, mode):
    rows = _rows(
        *[(f"same{n}", "", "falcon hover wind kestrel", {}) for n in range(8)],
        ("other", "", "kestrel in an entirely unlike passage about nests and eggs", {}),
    )
    opened = cluster(rows)
    (best,) = opened.search([request("kestrel falcon", mode=mode, top_k=2)])
    assert {hit.doc_id[:4] for hit in best} == {"same"}
    (diverse,) = opened.search([request("kestrel falcon", mode=mode, top_k=2, diversity=0.8)])
    assert [hit.doc_id for hit in diverse] == [best[0].doc_id, "other"]
    assert all((hit.similarity is None) == (mode == SearchMode.BM25) for hit in diverse)
    nowhere = {"doc_id": "none"}
    assert opened.search([request("kestrel", mode=mode, where=nowhere, diversity=0.8)]) == [[]]


def test_feedback_moves_the_question_towards_what_it_found(wire, cluster):
    # Vectors of our own: `near` is nearer to the question, `alike` to what it finds first.
    found = ["first", "second", "third"]
    rows = _rows(*[(name, "", f"kestrel {name}", {}) for name in (*found, "near", "alike")])
    axes = np.eye(EMBEDDER.spec.dim, dtype=np.float32)
    question = axes[0]
    vectors = {
        **dict.fromkeys(found, axes[0] + axes[1]),
        "near": axes[0] + 1.1 * axes[2],
        "alike": axes[0] / 2 + axes[1],
    }
    for row in rows:
        row["vector"] = vectors[row["doc_id"]] / np.linalg.norm(vectors[row["doc_id"]])
    opened = cluster(rows)

    def order(**how):
        (hits,) = opened.search([SearchRequest("words", question, caller=EVERYTHING, **how)])
        assert all(hit.similarity == pytest.approx(float(question @ vectors_of[hit.doc_id])) for hit in hits)
        return [hit.doc_id for hit in hits if hit.doc_id not in found]

    vectors_of = {row["doc_id"]: row["vector"] for row in rows}
    assert order(feedback=False) == ["near", "alike"]
    assert order() == ["alike", "near"]
    # An identifier is about itself.
    (hits,) = opened.search([SearchRequest("words-7", question, caller=EVERYTHING)])
    assert [hit.doc_id for hit in hits if hit.doc_id not in found] == ["near", "alike"]
    wire.searches.clear()
    assert order(feedback=False, mode=SearchMode.HYBRID) == ["near", "alike"]
    assert not any(search.metadata.vector for search in wire.searches if search.HasField("near_vector"))


def _long_document():
    parts = ["alpha", "beta", "gamma", "delta", "epsilon"]
    rows = _rows(*[(f"p{n}", "", part, {"tenant": "acme"} if n == 3 else {}) for n, part in enumerate(parts)])
    for start, row in enumerate(rows):
        row |= {"doc_id": "long", "start_char": start * 100}
    return rows[::-1] + _rows(("short", "", "alpha zeta", {}))


@pytest.mark.parametrize(
    ("caller", "after"),
    [(EVERYTHING, ["delta", "epsilon"]), (Caller("acme"), ["delta", "epsilon"]), (PUBLIC, ["epsilon"])],
)
def test_a_hit_comes_with_the_text_around_it_that_the_caller_may_find(wire, cluster, caller, after):
    opened = cluster(_long_document())
    asked = [request(word, top_k=1, neighbours=2, caller=caller, mode=SearchMode.BM25) for word in ("gamma", "zeta")]
    (hit,), (alone,) = opened.search(asked)
    assert (list(hit.before), hit.text, list(hit.after)) == (["alpha", "beta"], "gamma", after)
    assert (list(alone.before), list(alone.after)) == ([], [])
    assert opened.search([request("nothing", neighbours=2, mode=SearchMode.BM25)]) == [[]]
    wire.searches.clear()
    ((plain,),) = opened.search([request("gamma", top_k=1, mode=SearchMode.BM25)])
    assert (list(plain.before), list(plain.after)) == ([], [])
    assert len(wire.searches) == 1


def test_a_chunk_that_the_server_does_not_list_has_no_neighbours(cluster, monkeypatch):
    monkeypatch.setattr(weaviate_neighbours, "_MAX_CHUNKS", 2)
    rows = _long_document()
    listed = sorted((row for row in rows if row["doc_id"] == "long"), key=lambda row: row["chunk_id"])[:2]
    asked = [request(row["text"], top_k=1, neighbours=1, mode=SearchMode.BM25) for row in rows[:-1]]
    found = [hits[0] for hits in cluster(rows).search(asked)]
    assert {hit.chunk_id for hit in found if hit.before or hit.after} == {row["chunk_id"] for row in listed}


def test_counts_and_ranges(cluster):
    opened = cluster()
    assert opened.count() == 350
    assert opened.count({"metadata.year": [1950, 1951]}) == 2
    with pytest.raises(FilterError, match="range"):
        opened.search([request("wing", where={"metadata.year": {"gte": 1}})])


def test_a_vector_of_another_dimension_is_refused(cluster):
    with pytest.raises(ReleaseError, match="dimension 64"):
        cluster().search([SearchRequest("wing", EMBEDDER.embed_queries(["wing"])[0][:3])])


def test_a_search_that_fails_is_named_and_the_next_one_works(wire, cluster):
    opened = cluster(ROWS[:20])
    wire.faults["search"] = [Fault("deadline_exceeded")]
    with pytest.raises(ReleaseError, match="can't answer"):
        opened.search([request("wing", mode=SearchMode.DENSE)])
    assert opened.search([request("wing")])[0]


def test_a_short_outage_is_waited_for_and_a_longer_one_ends_at_our_deadline(wire, cluster):
    opened = cluster(ROWS[:20], search_deadline_s=3)
    wire.faults["search"] = [Fault("unavailable")]
    assert opened.search([request("wing", mode=SearchMode.DENSE)])[0]
    wire.faults["search"] = [Fault("unavailable")] * 3
    with pytest.raises(ReleaseError, match="within 3 s"):
        opened.search([request("wing", mode=SearchMode.DENSE)])


def test_no_more_questions_are_under_way_than_allowed(wire, cluster):
    opened = cluster(ROWS[:20], search_deadline_s=0.5, max_concurrent_searches=1)
    wire.faults["search"] = [Fault("wait"), Fault("wait")]
    for number in (1, 2):
        with pytest.raises(ReleaseError, match="1 questions to Weaviate are under way"):
            opened.search([request("wing")])
        assert len(wire.searches) == number
    assert opened.search([request("wing")])[0]


def test_what_is_not_answered_by_the_deadline_is_cancelled_at_the_server(wire, cluster):
    opened = cluster(ROWS[:20], search_deadline_s=0.3)
    wire.faults["search"] = [Fault("wait"), Fault("wait")]
    with pytest.raises(ReleaseError, match=r"within 0\.3 s"):
        opened.search([request("wing")])
    deadline = time.monotonic() + 5
    while wire.cancelled < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert wire.cancelled == 2
    assert opened.search([request("wing")])[0]


def test_searches_take_turns_on_connections_of_their_own(wire, cluster):
    opened = cluster(ROWS[:20], channels=3)
    assert [len(hits) for hits in opened.search([request("wing")] * 6)] == [10] * 6
    assert len(wire.peers) == 3


def test_many_threads_search_at_once(wire, cluster):
    opened = cluster(ROWS[:20], max_concurrent_searches=4)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: opened.search([request(f"number{n % 20}", top_k=1)]), range(64)))
    assert [hits[0].doc_id for (hits,) in found] == [f"d{n % 20}" for n in range(64)]


@pytest.mark.parametrize(
    ("caller", "secret"), [(EVERYTHING, [" secret four"]), (Caller("acme"), [" secret four"]), (PUBLIC, [])]
)
def test_a_hit_comes_with_its_section_as_far_as_the_caller_may_find_it(wire, cluster, caller, secret):
    rows = sectioned_rows(EMBEDDER)
    opened = cluster(rows[::-1])
    how = {"top_k": 1, "caller": caller, "mode": SearchMode.BM25}
    (gamma,), (pumps,), (eight,), (plain,) = opened.search(
        [
            *(request(word, section=True, **how) for word in ("gamma three", "pumps", "eight")),
            request("gamma three", neighbours=1, **how),
        ]
    )
    assert [part.text for part in gamma.section] == [
        "sluice alpha one",
        " beta two",
        " gamma three",
        *secret,
        "delta five",
    ]
    ids = {row["text"]: row["chunk_id"] for row in rows}
    one, two, three = gamma.section[:3]
    assert (one.chunk_id, one.start_char, one.end_char, one.overlap) == (ids["sluice alpha one"], 100, 116, "")
    assert (two.chunk_id, two.start_char, two.end_char, two.overlap) == (ids["one beta two"], 116, 125, "one")
    assert (three.chunk_id, three.start_char, three.end_char, three.overlap) == (gamma.chunk_id, 125, 137, "two")
    assert [part.text for part in (*pumps.section, *eight.section)] == ["pumps six", "sluice eight"]
    assert (list(gamma.before), list(plain.before), list(plain.section)) == ([], ["one beta two"], [])
    wire.searches.clear()
    assert opened.search([request("nothing", section=True, mode=SearchMode.BM25)]) == [[]]
    assert len(wire.searches) == 1


def test_a_chunk_that_the_server_does_not_list_is_a_section_of_its_own(cluster, monkeypatch):
    monkeypatch.setattr(weaviate_neighbours, "_MAX_CHUNKS", 0)
    (hit,) = cluster(sectioned_rows(EMBEDDER)).search([request("beta", top_k=1, section=True, mode=SearchMode.BM25)])[0]
    assert [(part.chunk_id, part.text) for part in hit.section] == [(hit.chunk_id, hit.text)]
