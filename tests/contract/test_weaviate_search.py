"""What a search asks a Weaviate cluster, and what it makes of its answers."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from weaviate.classes.query import Filter
from weaviate.exceptions import WeaviateQueryError
from weaviate.proto.v1 import base_pb2

from forebay.errors import FilterError, ReleaseError
from forebay.settings import IndexSettings
from forebay.store.access import EVERYTHING, PUBLIC, Caller
from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.fusion import BM25_WEIGHTS
from forebay.store.stems import ChunkStems
from forebay.store.weaviate_connection import connect
from tests.releases import chunk_rows, cluster_release
from tests.weaviate_cluster import EMBEDDER, RELEASE_ID, ROWS, load, request
from tests.weaviate_wire import Fault, packed


def test_a_hybrid_search_asks_for_the_vector_and_for_the_words(wire, cluster):
    assert cluster(ROWS[:20]).search([request("study number17")])[0]
    dense, words = sorted(wire.searches, key=lambda search: search.HasField("bm25_search"))
    assert dense.near_vector.vectors[0].vector_bytes == packed(request("study number17").vector)
    stems = ChunkStems(IndexSettings()).read("number17 study", "en")
    assert (set(words.bm25_search.query.split()), list(words.bm25_search.properties)) == (set(stems.split()), ["stems"])
    assert {search.consistency_level for search in wire.searches} == {base_pb2.CONSISTENCY_LEVEL_ONE}


@pytest.mark.parametrize("mode", SearchMode)
def test_nothing_is_asked_that_is_not_needed(wire, cluster, mode):
    cluster(ROWS[:20]).search([request("wing", mode=mode, feedback=False)])
    assert len(wire.searches) == (2 if mode == SearchMode.HYBRID else 1)
    # A hybrid search needs the vectors of what only words find, for its similarity.
    with_vectors = [search.HasField("bm25_search") for search in wire.searches if search.metadata.vector]
    assert with_vectors == ([True] if mode == SearchMode.HYBRID else [])


@pytest.mark.parametrize("caller", [PUBLIC, Caller("acme"), Caller("acme", frozenset({"a", "b"}))])
@pytest.mark.parametrize("where", [{}, {"or": [{"source": "tests"}, {"metadata.year": [1950, 1951]}]}])
def test_what_the_caller_may_find_is_in_every_question(wire, cluster, caller, where):
    cluster(ROWS[:20]).search([request("wing", caller=caller, where=where, mode=mode) for mode in SearchMode])
    assert len(wire.searches) == 4
    for search in wire.searches:
        access = search.filters.filters[1 if where else 0 :]
        assert search.filters.operator == base_pb2.Filters.OPERATOR_AND
        assert '["tenant"]' in str(access).replace("\\", "")
        assert '["groups"]' in str(access).replace("\\", "")


def test_feedback_moves_the_vector_towards_what_it_found(cluster):
    # Vectors of our own: `near` is nearer to the question, `alike` to what it finds first.
    found = ["first", "second", "third"]
    rows = chunk_rows([(name, "", f"kestrel {name}", {}) for name in (*found, "near", "alike")], EMBEDDER)
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


def _shares(scores):
    return np.interp(scores, [min(scores), max(scores)], [0, 1])


def test_a_hybrid_search_joins_both_legs_by_relative_score_where_asked_to(cluster):
    opened = cluster(
        chunk_rows([(f"d{n}", "", "wing " * (n + 1) + f"study {'abcdefg'[n]}", {}) for n in range(7)], EMBEDDER)
    )
    expected = {}
    for mode, weight in ((SearchMode.DENSE, 1.0), (SearchMode.BM25, BM25_WEIGHTS["relative_score"])):
        (leg,) = opened.search([request("wing", mode=mode)])
        for hit, share in zip(leg, _shares([hit.score for hit in leg]), strict=True):
            expected[hit.doc_id] = expected.get(hit.doc_id, 0) + weight * share
    (hits,) = opened.search([request("wing", feedback=False, fusion="relative_score")])
    assert {hit.doc_id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-5)
    assert len({round(hit.score, 4) for hit in hits}) == 7


def test_after_feedback_relative_scores_are_those_of_the_moved_question(cluster):
    axes = np.eye(EMBEDDER.spec.dim, dtype=np.float32)
    rows = chunk_rows([(f"d{n}", "", f"wing {n}", {}) for n in range(5)], EMBEDDER)
    vectors = [axes[0] + n * axes[1] + n**2 * axes[2] for n in range(5)]
    for row, vector in zip(rows, vectors, strict=True):
        row["vector"] = vector / np.linalg.norm(vector)
    # No passage has the word, so only vectors count.
    question = SearchRequest("kestrel", axes[0], caller=EVERYTHING, fusion="relative_score")
    (hits,) = cluster(rows).search([question])
    held = np.array([row["vector"] for row in rows])
    nearness = held @ (axes[0] + held.mean(axis=0))
    expected = dict(zip([row["doc_id"] for row in rows], _shares(nearness), strict=True))
    assert {hit.doc_id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("mode", SearchMode)
@pytest.mark.parametrize("caller", [EVERYTHING, PUBLIC])
def test_ranges_hold_in_every_leg(wire, cluster, mode, caller):
    opened = cluster()
    within = {"metadata.year": {"gte": 1960, "lt": 1970.5}}
    (hits,) = opened.search([request("wing lift", mode=mode, where=within, top_k=50, caller=caller)])
    # Every third document is a tenant's.
    expected = {f"d{n}" for n in range(10, 21) if caller is EVERYTHING or n % 3}
    assert {hit.doc_id for hit in hits} == expected
    assert all("range_terms" in str(search.filters) for search in wire.searches)


def test_ranges_are_of_numbers_only_and_a_field_that_no_chunk_has_matches_nothing(cluster):
    fields = [1, -2.5, 1e300, True, "1", [7, 30], [0, 99], 2**60]
    opened = cluster(
        chunk_rows([(f"d{n}", "", "kestrel", {"n": value, "m": "x"}) for n, value in enumerate(fields)], EMBEDDER)
    )
    assert opened.count({"metadata.n": {"gte": 1}}) == 5
    assert opened.count({"metadata.n": {"lt": 1}}) == 2
    assert opened.count({"metadata.n": {"gt": 5, "lt": 10}}) == 1
    assert opened.count({"metadata.n": {"gt": 2**59, "lt": 1e300}}) == 1
    assert opened.count({"not": {"metadata.n": {"gte": 1}}}) == 3
    for name in ("m", "none"):
        assert opened.count({f"metadata.{name}": {"gt": -1e308}}) == 0
        assert opened.search([request("kestrel", where={f"metadata.{name}": {"lte": 0}})]) == [[]]


def test_a_release_of_an_earlier_version_says_that_it_has_no_ranges(wire, open_store):
    store, manifest = open_store(), cluster_release(EMBEDDER, 20, "c")
    load(store, ROWS[:20], release_id=manifest.release_id)
    held = wire.classes[f"ForebayChunks_{manifest.release_id}"]
    held["properties"] = [item for item in held["properties"] if item["name"] != "range_terms"]
    opened = open_store().open(manifest)
    try:
        for where in ({"metadata.year": {"gte": 1}}, {"not": {"or": [{"metadata.year": {"gte": 1}}]}}):
            for ask in (lambda where=where: opened.count(where), lambda where=where: _search(opened, where)):
                with pytest.raises(FilterError, match=f"{manifest.release_id} was loaded by.*ingest_job.*list the"):
                    ask()
        assert opened.count({"metadata.year": [1950]}) == 1
    finally:
        opened.close()


def _search(opened, where):
    return opened.search([request("wing", where=where)])


def test_the_double_refuses_filters_that_a_server_refuses(wire, open_store):
    store = open_store()
    load(store, ROWS[:2])
    with connect(wire.settings()) as client:
        query = client.collections.use(f"ForebayChunks_{RELEASE_ID}").query
        for wrong, reason in (
            (Filter.by_property("none").equal("x"), "no such prop with name 'none'"),
            (Filter.by_property("partition").equal("x"), "cannot use 'value_text' on type 'int'"),
            (Filter.by_property("source").equal(1) & Filter.by_property("source").equal("x"), "on type 'text'"),
            (Filter.by_property("page").equal(1), "requires inverted index"),
        ):
            with pytest.raises(WeaviateQueryError, match=reason):
                query.fetch_objects(filters=wrong)


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
