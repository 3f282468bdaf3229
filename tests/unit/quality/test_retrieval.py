import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from forebay.errors import ModelError
from forebay.golden import GoldenQuestions
from forebay.reranking import Reranker
from forebay.store.contract import SEARCH_VERSION, SearchMode, SearchRequest
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.testing import HashEmbedder
from quality.retrieval import evaluate, rank_documents
from tests.releases import build_release

_WORDS = ["wing", "lift", "drag", "shock", "heat", "plate", "flow", "cone"]
_DOCUMENTS = [
    (f"d{number}", "", f"{_WORDS[number % 8]} {_WORDS[(number * 3 + 1) % 8]} text {number}", {}) for number in range(24)
]
_QRELS = {"q1": {"d0": 3, "d8": 1, "d5": 2}, "q2": {"d3": 1, "d23": 1}}


@pytest.fixture
def release(tmp_path):
    manifest = build_release(tmp_path, _DOCUMENTS, HashEmbedder())
    opened = QdrantEdgeStore(tmp_path, manifest.embedding, manifest.index).open(manifest)
    yield opened
    opened.close()


def test_ndcg_agrees_with_scikit_learn(release):
    embedder = HashEmbedder()
    golden = GoldenQuestions({"q1": "wing lift", "q2": "shock", "q3": "not judged"}, _QRELS)
    measured = evaluate(release, embedder, golden, SearchMode.DENSE)
    vectors = embedder.embed_documents([text for _, _, text, _ in _DOCUMENTS])
    expected = []
    for query_id, grades in _QRELS.items():
        similarity = vectors @ embedder.embed_queries([golden.queries[query_id]])[0]
        relevance = np.array([[grades.get(doc_id, 0) for doc_id, *_ in _DOCUMENTS]])
        expected.append(ndcg_score(relevance, similarity[None, :], k=10))
    assert measured.questions == 2
    assert measured.ndcg10 == pytest.approx(np.mean(expected), abs=0.02)
    assert measured.recall100 == 1.0
    assert list(measured.ndcg10_by_question.values()) == pytest.approx(expected, abs=0.02)
    low, high = measured.intervals["ndcg10"]
    assert min(expected) - 0.02 <= low <= measured.ndcg10 <= high <= max(expected) + 0.02


def test_mrr_is_the_mean_of_one_over_the_rank_of_the_first_relevant_document(release):
    embedder = HashEmbedder()
    golden = GoldenQuestions({"q1": "wing lift", "q2": "shock"}, _QRELS)
    measured = evaluate(release, embedder, golden, SearchMode.BM25)
    ranks = []
    for query_id, grades in _QRELS.items():
        text = golden.queries[query_id]
        request = SearchRequest(text, embedder.embed_queries([text])[0], 24, SearchMode.BM25)
        found = rank_documents(release.search([request])[0])
        ranks.append(min((found.index(doc_id) + 1 for doc_id in grades if doc_id in found), default=None))
    assert measured.mrr10 == pytest.approx(np.mean([1 / rank if rank and rank <= 10 else 0 for rank in ranks]))


def test_a_question_that_finds_nothing_counts_as_nothing(release):
    golden = GoldenQuestions({"q1": "wing lift", "q2": "unheardofword"}, _QRELS)
    measured = evaluate(release, HashEmbedder(), golden, SearchMode.BM25)
    assert measured.ndcg10_by_question["q2"] == 0.0
    assert measured.ndcg10 == pytest.approx(measured.ndcg10_by_question["q1"] / 2, abs=1e-4)


def test_without_judgements_nothing_is_measured(release):
    assert evaluate(release, HashEmbedder(), GoldenQuestions({"q": "wing"}, {})).ndcg10 is None


def test_a_document_ranks_by_its_best_passage(release):
    class _Hit:
        def __init__(self, doc_id):
            self.doc_id = doc_id

    assert rank_documents([_Hit("b"), _Hit("a"), _Hit("b")]) == ["b", "a"]


def test_figures_of_another_way_of_searching_are_not_compared(release):
    golden = GoldenQuestions({"q1": "wing lift", "q2": "shock"}, _QRELS)
    ways = [{}, {"fusion": "relative_score"}, {"feedback": False}, {"chunks": 20}]
    default, *others = (evaluate(release, HashEmbedder(), golden, **how) for how in ways)
    assert default.search == SEARCH_VERSION
    assert default.is_comparable(evaluate(release, HashEmbedder(), golden))
    assert not any(default.is_comparable(other) for other in others)
    assert default.ndcg10_by_question != others[0].ndcg10_by_question


def test_as_many_chunks_are_asked_for_as_wanted(release):
    golden = GoldenQuestions({"q2": "shock"}, {"q2": {f"d{n}": 1 for n in range(24)}})
    assert evaluate(release, HashEmbedder(), golden, chunks=6).recall100 == 0.25


class _JudgeScorer:
    """Scores a passage by its document's grade for q1; the documents' numbers are in the texts."""

    def __init__(self, worst=0.0):
        self._worst = worst

    def encode(self, pairs):
        return [{"input_ids": text.split()} for _, text in pairs]

    def score(self, batch):
        grades = [_QRELS["q1"].get(f"d{pair['input_ids'][-1]}", self._worst) for pair in batch]
        return np.array(grades, np.float32)


def test_a_reranker_is_measured_by_its_order_however_long_it_takes(release):
    golden = GoldenQuestions({"q1": "wing lift"}, {"q1": _QRELS["q1"]})
    plain = evaluate(release, HashEmbedder(), golden)
    reranked = evaluate(release, HashEmbedder(), golden, reranker=Reranker(_JudgeScorer(), candidates=24, batch_size=4))
    assert plain.ndcg10 < 0.99
    assert (reranked.ndcg10, reranked.mrr10, reranked.recall100) == (1.0, 1.0, plain.recall100)


def test_a_reranker_that_fails_has_no_figures(release):
    golden = GoldenQuestions({"q1": "wing lift"}, {"q1": _QRELS["q1"]})
    broken = Reranker(_JudgeScorer(worst=float("nan")), candidates=24, batch_size=4)
    with pytest.raises(ModelError, match="the reranker failed"):
        evaluate(release, HashEmbedder(), golden, reranker=broken)
