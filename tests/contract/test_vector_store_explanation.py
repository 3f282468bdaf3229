"""What every vector store tells of a search: that it is the search, and what each of its steps found."""

import numpy as np
import pytest

from forebay.errors import FilterError, ReleaseError
from forebay.store.access import EVERYTHING, Caller
from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.filters import And
from forebay.store.fusion import BM25_WEIGHTS, reciprocal_rank_fusion, relative_score_fusion
from tests.releases import chunk_rows
from tests.stores import EMBEDDER, search

_DOCUMENTS = [
    (f"d{n}", f"title {n}", f"wing number{n} of {'lift' if n % 3 else 'drag'}", {"groups": ["staff"] if n % 2 else []})
    for n in range(30)
]
_STAFF = Caller(groups=frozenset({"staff"}))


@pytest.fixture(scope="module")
def release(store):
    rows = chunk_rows(_DOCUMENTS, EMBEDDER)
    # Three chunks to a document; each is known by its title.
    for n, row in enumerate(rows):
        row |= {"doc_id": f"d{n // 3}", "start_char": n * 10}
    opened = store.open(store.build(rows, partitions=4))
    yield opened
    opened.close()


def _request(text, **options):
    return SearchRequest(text, EMBEDDER.embed_queries([text])[0], **options)


@pytest.mark.parametrize("mode", SearchMode)
@pytest.mark.parametrize("feedback", [True, False])
def test_what_is_explained_is_what_a_search_gives(release, mode, feedback):
    request = _request("wing lift title", top_k=8, mode=mode, feedback=feedback, caller=_STAFF)
    explanation = release.explain(request)
    assert explanation.hits == release.search([request])[0]
    last = explanation.rounds[-1]
    assert len(explanation.rounds) == (2 if feedback and mode is SearchMode.HYBRID else 1)
    assert [candidate.chunk_id for candidate in last.fused[:8]] == [hit.chunk_id for hit in explanation.hits]
    assert [candidate.score for candidate in last.fused[:8]] == [hit.score for hit in explanation.hits]
    assert set(last.legs) == ({"dense", "bm25"} if mode is SearchMode.HYBRID else {mode.value})


@pytest.mark.parametrize("options", [{"diversity": 0.7}, {"neighbours": 2}, {"where": {"doc_id": "d1"}}])
def test_what_else_is_asked_for_is_in_what_is_explained(release, options):
    request = _request("wing lift title", top_k=4, caller=_STAFF, **options)
    hits = release.explain(request).hits
    assert hits == release.search([request])[0]
    plain = search(release, EMBEDDER, "wing lift title", top_k=4, caller=_STAFF)
    assert [(hit.text, *hit.before, *hit.after) for hit in hits] != [(hit.text,) for hit in plain]


def test_both_rounds_are_joined_by_the_fusion_that_was_asked_for_and_it_is_told(release):
    for fusion in ("rrf", "relative_score"):
        explanation = release.explain(_request("wing lift title", fusion=fusion, caller=_STAFF))
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


def test_the_first_round_is_the_search_without_feedback(release):
    first = release.explain(_request("wing lift title", caller=_STAFF)).rounds[0]
    for mode in (SearchMode.DENSE, SearchMode.BM25):
        alone = search(release, EMBEDDER, "wing lift title", top_k=50, mode=mode, caller=_STAFF)
        assert [(c.doc_id, c.title) for c in first.legs[mode.value]] == [(hit.doc_id, hit.title) for hit in alone]
        assert [c.score for c in first.legs[mode.value]] == pytest.approx([hit.score for hit in alone])
    once = search(release, EMBEDDER, "wing lift title", top_k=50, feedback=False, caller=_STAFF)
    assert [(c.chunk_id, c.score) for c in first.fused] == [(hit.chunk_id, hit.score) for hit in once]


def test_the_second_round_has_the_dense_scores_of_the_moved_question(release):
    request = _request("wing lift title", caller=EVERYTHING)
    before, after = release.explain(request).rounds
    held = {row["chunk_id"]: np.array(row["vector"]) for row in chunk_rows(_DOCUMENTS, EMBEDDER)}
    moved = request.vector + np.mean([held[candidate.chunk_id] for candidate in before.fused[:5]], axis=0)
    moved /= np.linalg.norm(moved)
    found = {candidate.chunk_id: candidate.score for candidate in after.legs["dense"]}
    assert found == pytest.approx({key: float(held[key] @ moved) for key in found}, abs=1e-2)
    assert set(found) == {candidate.chunk_id for candidate in before.fused}
    scores = [candidate.score for candidate in after.legs["dense"]]
    assert scores == sorted(scores, reverse=True)


def test_what_lacks_a_quoted_phrase_is_in_a_leg_and_not_in_what_is_fused(release):
    told = release.explain(_request('wing "of drag"', caller=EVERYTHING))
    assert told.rules.phrases == ("of drag",)
    assert {candidate.title for candidate in told.rounds[0].fused} == {f"title {n}" for n in range(0, 30, 3)}
    assert len(told.rounds[0].legs["bm25"]) == 30


def test_access_is_part_of_the_filter_that_is_told(release):
    explanation = release.explain(_request("wing", top_k=30, where={"source": "tests"}))
    assert isinstance(explanation.where, And)
    found = {c.title for asked in explanation.rounds for leg in asked.legs.values() for c in leg}
    assert found == {f"title {n}" for n in range(0, 30, 2)}
    assert release.explain(_request("wing", caller=EVERYTHING)).where is None


def test_the_steps_are_timed_in_their_order(release):
    steps = release.explain(_request("wing")).steps_ms
    assert list(steps) == ["plan", "legs", "feedback", "hits"]
    assert all(taken_ms > 0 for taken_ms in steps.values())
    assert "feedback" not in release.explain(_request("wing", feedback=False)).steps_ms


def test_words_that_no_chunk_has_are_explained_by_nothing_found(release):
    told = release.explain(_request("zzz", mode=SearchMode.BM25))
    (asked,) = told.rounds
    assert (list(told.hits), list(asked.fused), [c for leg in asked.legs.values() for c in leg]) == ([], [], [])


def test_what_can_not_be_searched_can_not_be_explained(release):
    with pytest.raises(ReleaseError, match="dimension 64"):
        release.explain(SearchRequest("wing", np.ones(3, np.float32)))
    with pytest.raises(FilterError, match="colour"):
        release.explain(SearchRequest("wing", np.ones(64, np.float32), where={"colour": "red"}))
