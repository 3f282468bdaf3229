import numpy as np
import pytest

from forebay.reranking import Reranker, RerankStatus, is_reranked
from tests.unit.bentos.conftest import make_hit

DONE, OVER_BUDGET, FAILED = RerankStatus.DONE, RerankStatus.OVER_BUDGET, RerankStatus.FAILED


class NumberScorer:
    """Scores a passage by the number in it; a word is a token and takes `s_per_token` of its clock."""

    def __init__(self, s_per_token=0.001):
        self.s_per_token, self.now_s = s_per_token, 0.0
        self.batches = []

    def clock(self):
        return self.now_s

    def encode(self, pairs):
        return [{"input_ids": f"{question} {text}".split()} for question, text in pairs]

    def score(self, batch):
        self.batches.append([len(pair["input_ids"]) for pair in batch])
        self.now_s += len(batch) * max(self.batches[-1]) * self.s_per_token
        scores = [_number(pair["input_ids"]) for pair in batch]
        return np.array(scores, np.float32)


def _number(words):
    if "broken" in words:
        raise RuntimeError("out of memory")
    return next((float(word) for word in words if word.replace(".", "").isdigit() or word == "nan"), 0.0)


@pytest.fixture
def scorer():
    return NumberScorer()


@pytest.fixture
def reranker(scorer):
    made = Reranker(scorer, candidates=4, batch_size=3, clock=scorer.clock)
    scorer.batches.clear()
    return made


def _hits(*texts):
    return [make_hit(text, doc_id=f"d{place}") for place, text in enumerate(texts)]


def _texts(reranked):
    return [hit.text for hit in reranked.hits]


def test_the_first_hits_come_by_score_and_the_others_stay_behind_them(reranker):
    hits = _hits("a 1", "b 3", "c 3", "d 2", "e 9")
    (found,) = reranker.rerank([("q", hits)])
    assert _texts(found) == ["b 3", "c 3", "d 2", "a 1", "e 9"]
    assert [hit.rerank_score for hit in found.hits] == [3, 3, 2, 1, None]
    assert found.status == DONE
    assert [hit.score for hit in found.hits] == [1.0] * 5


def test_title_and_text_are_read_beside_the_question(reranker, scorer):
    seen = []
    scorer.encode, inner = lambda pairs: seen.extend(pairs) or inner(pairs), scorer.encode
    reranker.rerank([("the question", [make_hit("the text", title="The title")])])
    assert seen == [("the question", "The title\nthe text")]


def test_searches_share_batches_and_the_longest_pairs_go_first(reranker, scorer):
    searches = [("q", _hits("1", "2 x x x x", "3")), ("q q", _hits("4 x x", "5"))]
    assert [one.status for one in reranker.rerank(searches)] == [DONE, DONE]
    assert scorer.batches == [[6, 5, 3], [2, 2]]


def test_what_finds_nothing_is_done(reranker, scorer):
    assert [(list(one.hits), one.status) for one in reranker.rerank([("q", [])], scorer.now_s)] == [([], DONE)]
    assert reranker.rerank([]) == []


@pytest.mark.parametrize(("budget_s", "done"), [(0.0001, 0), (0.007, 0), (0.0081, 1), (0.0161, 2), (0.0241, 3), (1, 3)])
def test_the_last_searches_are_skipped_where_time_is_short(reranker, scorer, budget_s, done):
    """Each search has four pairs of two tokens: 8 ms."""
    searches = [("q", _hits("1", "2", "3", "4")) for _ in range(3)]
    began_s = scorer.now_s
    found = reranker.rerank(searches, began_s + budget_s)
    assert [one.status for one in found] == [DONE] * done + [OVER_BUDGET] * (3 - done)
    assert [_texts(one) for one in found] == [["4", "3", "2", "1"]] * done + [["1", "2", "3", "4"]] * (3 - done)
    assert all(hit.rerank_score is None for one in found[done:] for hit in one.hits)
    assert scorer.now_s - began_s <= budget_s
    if not done:
        assert not scorer.batches
        assert found[0].needed_s == pytest.approx(0.008)


def test_a_model_that_turns_slow_costs_one_batch_and_no_search_is_half_reranked(reranker, scorer):
    scorer.s_per_token *= 10
    searches = [("q", _hits("1", "2", "3", "4"))] * 2
    found = reranker.rerank(searches, scorer.now_s + 0.02)
    assert len(scorer.batches) == 1
    assert [(one.status, _texts(one)) for one in found] == [(OVER_BUDGET, ["1", "2", "3", "4"])] * 2


def test_the_first_search_is_still_done_where_the_second_one_is_given_up(reranker, scorer):
    """After the first batch, 60 ms, four more of ten pairs would take 90 ms at the estimate; two of them fit."""
    scorer.s_per_token *= 10
    searches = [("q q q q", _hits("1", "2", "3", "4")), ("q", _hits("1", "2", "3", "4"))]
    found = reranker.rerank(searches, scorer.now_s + 0.2)
    assert [one.status for one in found] == [DONE, OVER_BUDGET]
    assert _texts(found[0]) == ["4", "3", "2", "1"]


def test_after_a_slow_moment_reranking_comes_back_by_itself(reranker, scorer):
    search = ("q", _hits("1", "2", "3", "4"))
    scorer.s_per_token *= 10
    reranker.rerank([search])
    scorer.s_per_token /= 10
    statuses = [reranker.rerank([search], scorer.now_s + 0.01)[0].status for _ in range(60)]
    assert statuses[0] == OVER_BUDGET
    assert statuses[-1] == DONE


def test_a_score_that_is_no_number_costs_its_own_search_the_order_only(reranker, caplog):
    searches = [("q", _hits("1", "nan", "3")), ("q", _hits("1", "2", "3"))]
    for _ in range(3):
        found = reranker.rerank(searches)
        assert [one.status for one in found] == [FAILED, DONE]
        assert [_texts(one) for one in found] == [["1", "nan", "3"], ["3", "2", "1"]]
    assert caplog.text.count("reranking failed") == 1


def test_a_model_that_raises_is_logged_once_and_fails_no_search(reranker, caplog):
    searches = [("q", _hits("1", "2 broken")), ("q", _hits("1", "2"))]
    for _ in range(3):
        found = reranker.rerank(searches)
        assert [(one.status, _texts(one)[0]) for one in found] == [(FAILED, "1"), (FAILED, "1")]
    assert caplog.text.count("reranking failed") == 1
    assert "out of memory" in caplog.text
    assert reranker.rerank(searches[1:])[0].status == DONE
    reranker.rerank(searches)
    assert caplog.text.count("reranking failed") == 2


@pytest.mark.parametrize(
    ("mode", "diversity", "expected"),
    [("hybrid", 0.0, True), ("hybrid", 0.1, False), ("dense", 0.0, False), ("bm25", 0.0, False)],
)
def test_only_hybrid_searches_for_the_best_hits_are_reranked(mode, diversity, expected):
    assert is_reranked(mode, diversity) is expected
