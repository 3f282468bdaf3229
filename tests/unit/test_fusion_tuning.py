"""That what `make bench-fusion` tries is what a search does, and that what it reports wasn't tuned on."""

import pytest

from benchmarks.fusion_tuning import GRID, Bench, Setting, default_setting
from benchmarks.sample_release import halves, sample_questions
from forebay.golden import GoldenQuestions
from forebay.store import fusion
from forebay.store.contract import SearchMode
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.testing import HashEmbedder
from quality.retrieval import evaluate
from tests.releases import build_release

_WORDS = ["wing", "lift", "drag", "shock", "heat", "plate", "flow", "cone"]
_DOCUMENTS = [
    (f"d{n}", "", f"{_WORDS[n % 8]} {_WORDS[(n * 3 + 1) % 8]} " * (n % 5 + 1) + f"text {n}", {}) for n in range(24)
]
_GOLDEN = GoldenQuestions(
    {"q1": "wing lift drag", "q2": "shock heat", "q3": "cone flow wing"},
    {"q1": {"d0": 3, "d8": 1, "d5": 2}, "q2": {"d3": 1, "d23": 1, "d11": 2}, "q3": {"d7": 2, "d14": 1}},
)


@pytest.fixture
def release(tmp_path):
    manifest = build_release(tmp_path, _DOCUMENTS, HashEmbedder())
    opened = QdrantEdgeStore(tmp_path, manifest.embedding, manifest.index).open(manifest)
    yield opened
    opened.close()


def test_no_question_is_tuned_on_and_reported():
    golden = sample_questions()
    tuning, held_out = halves(golden)
    assert not tuning.qrels.keys() & held_out.qrels.keys()
    assert {**tuning.qrels, **held_out.qrels} == golden.qrels
    assert abs(len(tuning.qrels) - len(held_out.qrels)) <= 1


def test_the_default_is_among_what_is_tried():
    assert default_setting() == Setting("rrf", 1.0, 60)
    assert default_setting() in GRID


@pytest.mark.parametrize("method", ["rrf", "relative_score"])
def test_a_weight_reaches_the_search_and_is_gone_afterwards(release, method):
    bench = Bench(release, HashEmbedder(), feedback=False)
    before = dict(fusion.BM25_WEIGHTS)
    alone = {mode: evaluate(release, HashEmbedder(), _GOLDEN, mode).ndcg10_by_question for mode in SearchMode}
    for weight, mode in ((1e6, SearchMode.BM25), (1e-6, SearchMode.DENSE)):
        measured = bench.measure(Setting(method, weight, 60 if method == "rrf" else None), _GOLDEN)
        assert measured.ndcg10_by_question == alone[mode]
    assert alone[SearchMode.BM25] != alone[SearchMode.DENSE]
    assert before == fusion.BM25_WEIGHTS


def test_an_offset_reaches_the_search_and_is_gone_afterwards(release, monkeypatch):
    asked = []
    joined = fusion.reciprocal_rank_fusion
    monkeypatch.setattr(fusion, "reciprocal_rank_fusion", lambda *of: asked.append(of[1]) or joined(*of))
    Bench(release, HashEmbedder(), feedback=True).measure(Setting("rrf", 1.0, 7), _GOLDEN)
    assert set(asked) == {7}
    assert fusion.RRF_K == 60


def test_the_best_of_the_tuning_half_comes_first_and_differences_are_by_question(release):
    bench = Bench(release, HashEmbedder(), feedback=False)
    tuned = bench.tune(_GOLDEN)
    assert set(tuned) == set(GRID)
    assert list(tuned.values()) == sorted(tuned.values(), reverse=True)
    words = Setting("rrf", 1e6, 60)
    compared = bench.compare({"default": default_setting(), "words": words}, _GOLDEN)
    scores = {name: bench.measure(one, _GOLDEN) for name, one in (("default", default_setting()), ("words", words))}
    expected = scores["words"].ndcg10 - scores["default"].ndcg10
    assert expected != 0
    assert compared["words"]["difference"] == pytest.approx(expected, abs=1e-4)
    low, high = compared["words"]["difference_interval"]
    assert low <= compared["words"]["difference"] <= high
    assert (compared["default"]["difference"], compared["default"]["difference_interval"]) == (0.0, (0.0, 0.0))
