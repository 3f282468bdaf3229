import numpy as np
import pytest

from forebay.errors import FilterError, ReleaseError
from forebay.store import bm25
from forebay.store.access import EVERYTHING, Caller
from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.explanation import Candidate, Round
from forebay.store.filters import And
from forebay.store.fusion import BM25_WEIGHTS, reciprocal_rank_fusion, relative_score_fusion
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.testing import HashEmbedder
from tests.releases import build_release

_DOCUMENTS = [
    (f"d{n}", f"title {n}", f"wing number{n} of {'lift' if n % 3 else 'drag'}", {"groups": ["staff"] if n % 2 else []})
    for n in range(30)
]
_STAFF = Caller(groups=frozenset({"staff"}))


@pytest.fixture(scope="module")
def embedder():
    return HashEmbedder()


@pytest.fixture(scope="module")
def release(tmp_path_factory, embedder):
    root = tmp_path_factory.mktemp("shards")
    manifest = build_release(root, _DOCUMENTS, embedder, shards=3)
    opened = QdrantEdgeStore(root, manifest.embedding, manifest.index).open(manifest)
    yield opened
    opened.close()


def _request(embedder, text, **options):
    return SearchRequest(text, embedder.embed_queries([text])[0], **options)


@pytest.mark.parametrize("mode", SearchMode)
@pytest.mark.parametrize("feedback", [True, False])
def test_what_is_explained_is_what_a_search_gives(release, embedder, mode, feedback):
    request = _request(embedder, "wing lift title", top_k=8, mode=mode, feedback=feedback, caller=_STAFF)
    explanation = release.explain(request)
    assert explanation.hits == release.search([request])[0]
    last = explanation.rounds[-1]
    assert len(explanation.rounds) == (2 if feedback and mode is SearchMode.HYBRID else 1)
    assert [candidate.chunk_id for candidate in last.fused[:8]] == [hit.chunk_id for hit in explanation.hits]
    assert [candidate.score for candidate in last.fused[:8]] == [hit.score for hit in explanation.hits]
    assert set(last.legs) == ({"dense", "bm25"} if mode is SearchMode.HYBRID else {mode.value})


def test_both_rounds_are_joined_by_the_fusion_that_was_asked_for_and_it_is_told(release, embedder):
    for fusion in ("rrf", "relative_score"):
        explanation = release.explain(_request(embedder, "wing lift title", fusion=fusion, caller=_STAFF))
        assert explanation.fusion == fusion
        assert len(explanation.rounds) == 2
        for asked in explanation.rounds:
            legs = [[(candidate.chunk_id, candidate.score) for candidate in leg] for leg in asked.legs.values()]
            expected = {
                "rrf": lambda legs: reciprocal_rank_fusion([[key for key, _ in leg] for leg in legs]),
                "relative_score": lambda legs: relative_score_fusion(legs, [1.0, BM25_WEIGHTS["relative_score"]]),
            }[fusion](legs)
            found = {candidate.chunk_id: candidate.score for candidate in asked.fused}
            assert found == pytest.approx(dict(expected), abs=1e-4)


def test_common_words_that_bm25_is_not_asked_for_are_named(release, embedder, monkeypatch):
    request = _request(embedder, "Wing, title and wings of lift or drag", caller=EVERYTHING)
    assert release.explain(request).left_out == []
    monkeypatch.setattr(bm25, "_MAX_POSTINGS", 30)
    monkeypatch.setattr(bm25, "_LEAST_TERMS", 2)
    assert release.explain(request).left_out == ["wing", "title", "wings"]
    assert release.explain(_request(embedder, request.text, mode=SearchMode.DENSE, caller=EVERYTHING)).left_out == []


def test_the_first_round_is_the_search_without_feedback(release, embedder):
    first = release.explain(_request(embedder, "wing lift title", caller=_STAFF)).rounds[0]
    for mode in (SearchMode.DENSE, SearchMode.BM25):
        (alone,) = release.search([_request(embedder, "wing lift title", top_k=50, mode=mode, caller=_STAFF)])
        assert [c.doc_id for c in first.legs[mode.value]] == [hit.doc_id for hit in alone]
        assert [c.title for c in first.legs[mode.value]] == [hit.title for hit in alone]
    (once,) = release.search([_request(embedder, "wing lift title", top_k=50, feedback=False, caller=_STAFF)])
    assert [c.chunk_id for c in first.fused] == [hit.chunk_id for hit in once]


@pytest.fixture(scope="module")
def crowded(tmp_path_factory, embedder):
    """A release of 20 passages with `wing`, 3 of which have `kestrel`, `falcon` and `osprey`, too."""
    documents = [(f"d{n}", "", f"wing {'kestrel falcon osprey' if n < 3 else f'number{n}'}", {}) for n in range(20)]
    root = tmp_path_factory.mktemp("shards")
    manifest = build_release(root, documents, embedder, shards=2)
    opened = QdrantEdgeStore(root, manifest.embedding, manifest.index).open(manifest)
    yield opened
    opened.close()


def _scored_by_words(release, embedder, question, **options):
    """Give how many passages the BM25 leg found in each round."""
    rounds = release.explain(_request(embedder, question, **options)).rounds
    return [len(asked.legs["bm25"]) for asked in rounds]


def test_what_is_scored_anew_is_found_by_the_rarest_terms_alone_where_the_others_are_too_many(
    crowded, embedder, monkeypatch
):
    question = "kestrel falcon osprey wing"
    assert _scored_by_words(crowded, embedder, question) == [20, 20]
    monkeypatch.setattr("forebay.store.bm25._MAX_POSTINGS", 10)
    # The dense leg found all of them, and then every word counts.
    assert _scored_by_words(crowded, embedder, question) == [3, 20]


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("kestrel falcon osprey wing", {"feedback": False}),
        ("kestrel falcon osprey wing", {"mode": SearchMode.BM25}),
        ("kestrel falcon osprey wing", {"where": {"source": "tests"}}),
        ('kestrel falcon osprey "wing"', {}),
        ("kestrel falcon osprey wing x15", {}),
    ],
)
def test_otherwise_every_term_is_asked(crowded, embedder, monkeypatch, question, options):
    monkeypatch.setattr("forebay.store.bm25._MAX_POSTINGS", 10)
    assert _scored_by_words(crowded, embedder, question, **options)[0] == 20


def test_of_what_a_filter_leaves_every_term_is_asked_only_where_the_rarest_find_too_little(
    embedder, tmp_path, monkeypatch
):
    monkeypatch.setattr("forebay.store.bm25._MAX_POSTINGS", 150)
    birds = ["kestrel", "falcon", "osprey"]
    documents = [
        (f"d{n}", "", f"wing {birds[n % 3] if n < 120 else f'number{n}'}", {"part": n // 60}) for n in range(180)
    ]
    manifest = build_release(tmp_path, documents, embedder)
    opened = QdrantEdgeStore(tmp_path, manifest.embedding, manifest.index).open(manifest)

    def found(part):
        where = {"metadata.part": part}
        told = opened.explain(_request(embedder, "kestrel falcon osprey wing", where=where, caller=EVERYTHING))
        return told.left_out, len(told.rounds[0].legs["bm25"])

    assert found(1) == (["wing"], 40)
    assert found(2) == ([], 40)
    monkeypatch.setattr("forebay.store.qdrant_edge._WIDE", 0.5)
    assert found(1) == ([], 40)
    opened.close()


def test_access_is_part_of_the_filter_that_is_told(release, embedder):
    explanation = release.explain(_request(embedder, "wing", top_k=30, where={"source": "tests"}))
    assert isinstance(explanation.where, And)
    found = {c.doc_id for asked in explanation.rounds for leg in asked.legs.values() for c in leg}
    assert found == {f"d{n}" for n in range(0, 30, 2)}


def test_the_steps_are_timed_in_their_order(release, embedder):
    steps = release.explain(_request(embedder, "wing")).steps_ms
    assert list(steps) == ["plan", "legs", "feedback", "hits"]
    assert all(taken_ms > 0 for taken_ms in steps.values())


def test_words_that_no_chunk_has_leave_a_round_without_that_leg(release, embedder):
    (asked,) = release.explain(_request(embedder, "zzz", mode=SearchMode.BM25)).rounds
    assert (dict(asked.legs), list(asked.fused)) == ({}, [])


def test_what_can_not_be_searched_can_not_be_explained(release):
    with pytest.raises(ReleaseError, match="dimension 64"):
        release.explain(SearchRequest("wing", np.ones(3, np.float32)))
    with pytest.raises(FilterError, match="colour"):
        release.explain(SearchRequest("wing", np.ones(64, np.float32), where={"colour": "red"}))


def test_a_rank_counts_from_one_and_is_none_where_a_passage_is_not():
    a, b = Candidate("a", "A", "", 0.9), Candidate("b", "B", "", 0.8)
    asked = Round({"dense": [a, b], "bm25": [b]}, [b, a])
    assert (asked.ranks("a"), asked.ranks("b"), asked.ranks("c")) == ({"dense": 1}, {"dense": 2, "bm25": 1}, {})
    assert (asked.fused_rank("a"), asked.fused_rank("c")) == (2, None)
