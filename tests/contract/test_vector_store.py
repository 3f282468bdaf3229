"""What every vector store promises of searching; a new store joins by one more entry in `tests.stores.STORES`."""

import time

import numpy as np
import pytest

from forebay.errors import FilterError, ReleaseError
from forebay.store.access import EVERYTHING, PUBLIC, Caller
from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.fusion import BM25_WEIGHTS
from forebay.store.query_rules import MIN_CANDIDATES
from tests.releases import chunk_rows, sectioned_rows
from tests.stores import DOCUMENTS, FEEDBACK_BY_WORDS, WORDS_OVER_ALL_SHARDS, search

needs = pytest.mark.needs


@pytest.fixture(scope="module")
def manifest(store, embedder):
    return store.build(chunk_rows(DOCUMENTS, embedder), partitions=4)


@pytest.fixture(scope="module")
def release(store, manifest):
    opened = store.open(manifest)
    yield opened
    opened.close()


def test_dense_search_equals_exact_search_over_all_shards(release, embedder):
    vectors = np.array([row["vector"] for row in chunk_rows(DOCUMENTS, embedder)])
    for question in ("wing lift", "shock item21", "flutter of a panel"):
        (query,) = embedder.embed_queries([question])
        similarity = vectors @ query
        hits = search(release, embedder, question, top_k=10, mode=SearchMode.DENSE)
        best = np.sort(similarity)[::-1][:10]
        assert [hit.similarity for hit in hits] == pytest.approx(best.tolist(), abs=1e-4)


def test_one_shard_may_hold_all_of_the_best(built, embedder):
    # The chunks of a long document lie in one shard: here every eighth, so all in the first one.
    documents = [
        (f"d{number}", "", f"kestrel page{number}" if number % 8 == 0 else f"turbine blade{number}", {})
        for number in range(8 * 60)
    ]
    release = built(chunk_rows(documents, embedder), partitions=8)
    for mode in (SearchMode.DENSE, SearchMode.BM25):
        hits = search(release, embedder, "kestrel", top_k=60, mode=mode)
        assert {hit.doc_id for hit in hits} == {f"d{number}" for number in range(0, 8 * 60, 8)}


@needs(WORDS_OVER_ALL_SHARDS)
def test_bm25_scores_do_not_depend_on_the_number_of_shards(built, embedder, release):
    whole = built(chunk_rows(DOCUMENTS, embedder), partitions=1)
    for question in ("boundary layer study", "item49", "heat"):
        one = search(whole, embedder, question, top_k=60, mode=SearchMode.BM25)
        four = search(release, embedder, question, top_k=60, mode=SearchMode.BM25)
        assert {hit.doc_id: hit.score for hit in four} == pytest.approx({hit.doc_id: hit.score for hit in one})


def test_a_rare_word_is_found_by_bm25_alone(release, embedder):
    hits = search(release, embedder, "item413", mode=SearchMode.BM25)
    assert [hit.doc_id for hit in hits] == ["d59"]


def test_hybrid_search_fuses_both_legs_by_rank(release, embedder):
    question = "heat transfer study"
    legs = [search(release, embedder, question, top_k=60, mode=mode) for mode in (SearchMode.DENSE, SearchMode.BM25)]
    expected = {}
    for leg in legs:
        for rank, hit in enumerate(leg[:MIN_CANDIDATES], start=1):
            expected[hit.doc_id] = expected.get(hit.doc_id, 0) + 1 / (60 + rank)
    hits = search(release, embedder, question, top_k=10, feedback=False)
    assert [hit.score for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True)[:10])
    assert all(hit.score == pytest.approx(expected[hit.doc_id]) for hit in hits)


def test_hybrid_search_joins_both_legs_by_relative_score_where_asked_to(release, embedder):
    question = "heat transfer study"
    expected = {}
    for mode, weight in ((SearchMode.DENSE, 1.0), (SearchMode.BM25, BM25_WEIGHTS["relative_score"])):
        leg = search(release, embedder, question, top_k=60, mode=mode)
        scores = np.array([hit.score for hit in leg])
        for hit, share in zip(leg, np.interp(scores, [scores.min(), scores.max()], [0, 1]), strict=True):
            expected[hit.doc_id] = expected.get(hit.doc_id, 0) + weight * share
    hits = search(release, embedder, question, top_k=60, feedback=False, fusion="relative_score")
    assert {hit.doc_id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-4)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    # An identifier weighs as much more as when ranks are joined.
    (away,) = -embedder.embed_queries(["study number6 of item42"])
    first, second = release.search([SearchRequest("item42", away, 2, fusion="relative_score")])[0]
    assert first.doc_id == "d6"
    assert [first.score, second.score] == pytest.approx([5 * BM25_WEIGHTS["relative_score"], 1.0], abs=1e-4)


def test_a_question_with_an_identifier_is_found_by_its_words(release, embedder):
    # By vector it is among the last.
    (away,) = -embedder.embed_queries(["study number6 of item42"])
    first, second = release.search([SearchRequest("item42", away, top_k=2)])[0]
    assert first.doc_id == "d6"
    assert [first.score, second.score] == pytest.approx([5 / 61, 1 / 61])


def test_hits_have_to_hold_a_quoted_phrase_that_anything_holds(built, embedder):
    # The words are common: those who hold the phrase are among many candidates.
    documents = [(f"n{n}", "", f"wave shock {n}", {}) for n in range(60)]
    documents += [("text", "", "of a Shock wave", {}), ("title", "The shock WAVE", "compression", {})]
    opened = built(chunk_rows(documents, embedder), partitions=3)
    for mode in (SearchMode.HYBRID, SearchMode.BM25):
        for feedback in (True, False):
            hits = search(opened, embedder, 'a "shock wave"', mode=mode, feedback=feedback)
            assert {hit.doc_id for hit in hits} == {"text", "title"}
    assert len(search(opened, embedder, 'a "shock wave"', mode=SearchMode.DENSE)) == 10
    assert len(search(opened, embedder, 'a "wave entropy shock"')) == 10
    # What a filter takes away holds nothing.
    narrow = {"doc_id": ["n1", "n2"]}
    assert {hit.doc_id for hit in search(opened, embedder, '"shock wave"', where=narrow)} == {"n1", "n2"}


@pytest.mark.parametrize("mode", SearchMode)
def test_diverse_hits_do_not_say_the_same(built, embedder, mode):
    documents = [(f"same{n}", "", "falcon hover wind kestrel", {}) for n in range(8)]
    documents += [("other", "", "kestrel in an entirely unlike passage about nests and eggs", {})]
    opened = built(chunk_rows(documents, embedder), partitions=3)
    best = search(opened, embedder, "kestrel falcon", mode=mode, top_k=2)
    assert {hit.doc_id[:4] for hit in best} == {"same"}
    diverse = search(opened, embedder, "kestrel falcon", mode=mode, top_k=2, diversity=0.8)
    assert [hit.doc_id for hit in diverse] == [best[0].doc_id, "other"]
    assert all((hit.similarity is None) == (mode == SearchMode.BM25) for hit in diverse)
    every = search(opened, embedder, "kestrel falcon", mode=mode, top_k=20, diversity=0.8)
    assert len({hit.chunk_id for hit in every}) == len(every) == 9
    nowhere = {"doc_id": "none"}
    assert search(opened, embedder, "kestrel", mode=mode, where=nowhere, diversity=0.8) == []


def test_a_hit_comes_with_the_text_around_it_that_the_caller_may_find(built, embedder):
    parts = ["alpha", "beta", "gamma", "delta", "epsilon"]
    rows = chunk_rows(
        [(f"p{n}", "", part, {"tenant": "acme"} if n == 3 else {}) for n, part in enumerate(parts)], embedder
    )
    for start, row in enumerate(rows):
        row |= {"doc_id": "long", "start_char": start * 100}
    # In the index neither one after the other nor in one shard.
    opened = built(rows[::-1] + chunk_rows([("short", "", "alpha zeta", {})], embedder), partitions=2)
    for caller, after in ((EVERYTHING, ["delta", "epsilon"]), (PUBLIC, ["epsilon"])):
        asked = {"top_k": 1, "neighbours": 2, "caller": caller, "mode": SearchMode.BM25}
        (hit,) = search(opened, embedder, "gamma", **asked)
        assert (list(hit.before), hit.text, list(hit.after)) == (["alpha", "beta"], "gamma", after)
    (first,) = search(opened, embedder, "beta", top_k=1, neighbours=1, mode=SearchMode.BM25)
    assert (list(first.before), list(first.after)) == (["alpha"], ["gamma"])
    (alone,) = search(opened, embedder, "zeta", top_k=1, neighbours=3, mode=SearchMode.BM25)
    assert (list(alone.before), list(alone.after)) == ([], [])
    (plain,) = search(opened, embedder, "beta", top_k=1, mode=SearchMode.BM25)
    assert (list(plain.before), list(plain.after)) == ([], [])
    assert search(opened, embedder, "nothing", neighbours=2, mode=SearchMode.BM25) == []


@needs(FEEDBACK_BY_WORDS)
def test_feedback_finds_by_words_that_only_the_first_hits_have(built, embedder):
    documents = [("asked", "", "kestrel falcon hover", {})]
    documents += [(f"near{number}", "", f"falcon hover nest{number}", {}) for number in range(3)]
    documents += [(f"far{number}", "", f"turbine{number} blade{number} steam{number}", {}) for number in range(20)]
    opened = built(chunk_rows(documents, embedder))
    once = search(opened, embedder, "kestrel", mode=SearchMode.BM25)
    assert [hit.doc_id for hit in once] == ["asked"]
    near = {"near0", "near1", "near2"}
    assert not near <= {hit.doc_id for hit in search(opened, embedder, "kestrel", top_k=8, feedback=False)}
    hits = search(opened, embedder, "kestrel", top_k=8)
    assert near <= {hit.doc_id for hit in hits}
    (vector,) = embedder.embed_queries(["kestrel"])
    own = {row["doc_id"]: float(np.dot(row["vector"], vector)) for row in chunk_rows(documents, embedder)}
    assert [hit.similarity for hit in hits] == pytest.approx([own[hit.doc_id] for hit in hits], abs=1e-4)


def test_a_first_hit_of_stop_words_only_spoils_no_search(built, embedder):
    opened = built(chunk_rows([("stop", "", "the of and", {}), ("word", "", "kestrel", {})], embedder))
    assert {hit.doc_id for hit in search(opened, embedder, "the kestrel")} == {"stop", "word"}


def test_a_hit_of_bm25_has_its_similarity_though_the_dense_leg_ranks_it_last(release, embedder):
    vectors = np.array([row["vector"] for row in chunk_rows(DOCUMENTS, embedder)])
    away = -vectors[59]
    assert (vectors @ away).argsort()[::-1].tolist().index(59) == 59
    hits = release.search([SearchRequest("item413", away, top_k=10, feedback=False)])[0]
    similarity = {hit.doc_id: hit.similarity for hit in hits}
    assert similarity["d59"] == pytest.approx(-1, abs=1e-4)
    (alone,) = release.search([SearchRequest("item413", away, top_k=10, mode=SearchMode.BM25)])[0]
    assert alone.similarity is None


@pytest.mark.parametrize("mode", [SearchMode.DENSE, pytest.param(SearchMode.BM25, marks=needs(WORDS_OVER_ALL_SHARDS))])
def test_equal_scores_are_ordered_by_id_over_all_shards(built, embedder, mode):
    rows = chunk_rows([(f"d{number}", "title", "the same words", {}) for number in range(30)], embedder)
    hits = search(built(rows, partitions=4), embedder, "words", top_k=10, mode=mode)
    assert [hit.chunk_id for hit in hits] == sorted(row["chunk_id"] for row in rows)[:10]


def test_a_hit_says_where_it_comes_from(release, embedder):
    (hit,) = search(release, embedder, "item413", top_k=1)
    assert (hit.doc_id, hit.title, hit.uri) == ("d59", "title 59", "d59.txt")
    assert hit.text == DOCUMENTS[59][2]
    assert (hit.start_char, hit.end_char) == (0, len(hit.text))
    assert hit.metadata == {"year": 2009}


@pytest.mark.parametrize("mode", SearchMode)
def test_filters_hold_in_every_leg(release, embedder, mode):
    where = {"metadata.year": {"gte": 1960, "lt": 1970}, "format": "text"}
    hits = search(release, embedder, "wing heat layer shock study", top_k=50, mode=mode, where=where)
    assert {hit.metadata["year"] for hit in hits} == set(range(1960, 1970))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"doc_id": {"ne": "d1"}, "metadata.year": {"lt": 1953}}, {"d0", "d2"}),
        ({"or": [{"doc_id": "d1"}, {"metadata.year": {"in": [1953, 1954.0]}}]}, {"d1", "d3", "d4"}),
        ({"not": {"metadata.year": {"gt": 1951}}}, {"d0", "d1"}),
        ({"and": [{"doc_id": ["d1", "d2"]}, {"not": {"doc_id": "d2"}}]}, {"d1"}),
        ({"doc_id": ["d1"], "metadata.year": {"exists": True}}, {"d1"}),
        ({"metadata.year": {"exists": False}}, set()),
        ({"doc_id": ["d1"], "metadata.month": {"exists": False}}, {"d1"}),
    ],
)
def test_every_operator_holds_in_every_leg(release, embedder, where, expected):
    for mode in SearchMode:
        hits = search(release, embedder, "wing heat layer shock panel study", top_k=50, mode=mode, where=where)
        assert {hit.doc_id for hit in hits} == expected
    assert release.count(where) == len(expected)


def test_counts_follow_the_filter(release):
    assert release.count() == 60
    assert release.count({"doc_id": ["d1", "d2", "none"]}) == 2


def test_a_batch_answers_like_single_requests(release, embedder):
    questions = ["wing", "heat transfer", "item7"]
    vectors = embedder.embed_queries(questions)
    batch = release.search([SearchRequest(q, v, 5) for q, v in zip(questions, vectors, strict=True)])
    assert batch == [search(release, embedder, question, top_k=5) for question in questions]


def test_a_question_without_known_words_is_still_answered_by_the_dense_leg(release, embedder):
    assert len(search(release, embedder, "zzz qqq", top_k=3)) == 3


def test_words_that_no_chunk_has_find_nothing_with_bm25_alone(release, embedder):
    assert search(release, embedder, "zzz qqq", mode=SearchMode.BM25) == []
    assert release.search([]) == []


def test_an_unknown_field_is_a_named_error(release, embedder):
    with pytest.raises(FilterError, match="colour"):
        search(release, embedder, "wing", where={"colour": "red"})


def test_a_vector_of_the_wrong_dimension_is_a_named_error(release):
    with pytest.raises(ReleaseError, match="dimension 64"):
        release.search([SearchRequest("wing", np.ones(3, np.float32))])


def test_one_release_can_be_open_many_times(store, manifest, release, embedder):
    again = store.open(manifest)
    assert search(again, embedder, "wing") == search(release, embedder, "wing")
    again.close()
    assert search(release, embedder, "wing")


def test_a_filter_at_its_limits_is_no_burden(release, embedder):
    largest = {"or": [{"metadata.year": [year + n + 0.5 for year in range(1000)]} for n in range(10)]}
    began = time.perf_counter()
    assert search(release, embedder, "wing", where=largest) == []
    # It takes 0.1 s; where every value meant a look at every payload, it took minutes.
    assert time.perf_counter() - began < 2


def test_more_numeric_fields_than_are_indexed_can_be_filtered(built, embedder):
    fields = {f"n{number}": number for number in range(100)}
    release = built(chunk_rows([("d", "t", "water", fields)], embedder), partitions=1)
    assert all(release.count({f"metadata.n{n}": {"gte": n, "lte": n}}) == 1 for n in range(100))
    assert all(release.count({f"metadata.n{n}": {"gt": n}}) == 0 for n in range(100))


def test_a_hit_comes_with_its_section_as_far_as_the_caller_may_find_it(built, embedder):
    rows = sectioned_rows(embedder)
    # In the index neither one after the other nor in one shard.
    opened = built(rows[::-1], partitions=2)
    asked = {"top_k": 1, "mode": SearchMode.BM25}

    def section(word, caller=EVERYTHING):
        (hit,) = search(opened, embedder, word, section=True, caller=caller, **asked)
        assert (list(hit.before), list(hit.after)) == ([], [])
        return [(part.overlap, part.text, part.start_char, part.end_char) for part in hit.section]

    gates = [("", "sluice alpha one", 100, 116), ("one", " beta two", 116, 125), ("two", " gamma three", 125, 137)]
    secret, delta = ("three", " secret four", 137, 149), ("", "delta five", 151, 161)
    for word in ("alpha", "gamma", "delta"):
        assert section(word) == [*gates, secret, delta]
        assert section(word, Caller("acme")) == [*gates, secret, delta]
        assert section(word, PUBLIC) == [*gates, delta]
    # Headings, a page and a document end a section, and nothing is around a chunk that has no other beside it.
    alone = {"intro": "the intro of all", "pumps": "pumps six", "seven": "sluice seven", "eight": "sluice eight"}
    for word, text in alone.items():
        assert [part[:2] for part in section(word)] == [("", text)]
    assert [part[1] for part in section("lock")] == ["lock of another document"]
    (hit,) = search(opened, embedder, "secret", section=True, neighbours=1, caller=EVERYTHING, **asked)
    ids = {row["text"]: row["chunk_id"] for row in rows}
    assert [part.chunk_id for part in hit.section] == [ids[row["text"]] for row in rows[1:6]]
    assert (list(hit.before), list(hit.after)) == (["two gamma three"], ["delta five"])
    (plain,) = search(opened, embedder, "secret", neighbours=1, caller=EVERYTHING, **asked)
    assert list(plain.section) == []
