"""Fusion of a search's legs, tuned on half of the sample's questions and reported on the others; `make bench-fusion`.

Both fusions are tried with weights of the BM25 leg and, by rank, with rank offsets, on the tuning half alone: with
feedback, as a search is by default, and without. The best of each is then asked the held-out half beside today's
default. Legs give as many candidates as for a search of ten hits; recall@100 is that of a search for hundreds.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import report
from benchmarks.sample_release import halves, sample_questions, sample_release
from forebay.embedding import Embedder
from forebay.golden import GoldenQuestions
from forebay.releases import Evaluation
from forebay.settings import ServingSettings
from forebay.store import fusion
from forebay.store.contract import OpenRelease
from forebay.store.query_rules import MIN_CANDIDATES
from quality.intervals import mean_interval
from quality.retrieval import evaluate

_WEIGHTS = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)
_OFFSETS = (10, 20, 40, 60, 100)
_SHOWN = 4
_METHODS: tuple[fusion.Fusion, ...] = ("rrf", "relative_score")


@dataclass(frozen=True)
class Setting:
    """A way of joining the legs."""

    method: fusion.Fusion
    bm25_weight: float
    k: int | None
    """Rank offset; None where ranks don't count."""

    def __str__(self) -> str:
        return f"{self.method}, BM25 weight {self.bm25_weight:g}" + (f", k {self.k}" if self.k else "")


GRID = [Setting("rrf", weight, k) for k, weight in product(_OFFSETS, _WEIGHTS)]
GRID += [Setting("relative_score", weight, None) for weight in _WEIGHTS]


def default_setting() -> Setting:
    method = ServingSettings.model_fields["fusion"].default
    return Setting(method, fusion.BM25_WEIGHTS[method], fusion.RRF_K if method == "rrf" else None)


@dataclass(frozen=True)
class Bench:
    """The sample's release, asked with or without feedback."""

    release: OpenRelease
    embedder: Embedder
    feedback: bool

    def measure(self, setting: Setting, golden: GoldenQuestions, **how: Any) -> Evaluation:
        """Measure a way of joining the legs."""
        weights = patch.dict(fusion.BM25_WEIGHTS, {setting.method: setting.bm25_weight})
        with weights, patch.object(fusion, "RRF_K", setting.k or fusion.RRF_K):
            return evaluate(self.release, self.embedder, golden, fusion=setting.method, feedback=self.feedback, **how)

    def tune(self, golden: GoldenQuestions) -> dict[Setting, float]:
        """Give nDCG@10 of every setting of the grid, best first; of equal ones the first of the grid."""
        found = {setting: self.measure(setting, golden, chunks=MIN_CANDIDATES).ndcg10 or 0.0 for setting in GRID}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def compare(self, settings: dict[str, Setting], golden: GoldenQuestions) -> dict[str, dict[str, Any]]:
        """Compare settings with the one named `default`, question by question."""
        found = {name: self.measure(setting, golden, chunks=MIN_CANDIDATES) for name, setting in settings.items()}
        of_default = found["default"].ndcg10_by_question
        figures: dict[str, dict[str, Any]] = {}
        for name, measured in found.items():
            differences = [score - of_default[key] for key, score in measured.ndcg10_by_question.items()]
            figures[name] = {
                "setting": str(settings[name]),
                "ndcg10": measured.ndcg10,
                "difference": round(sum(differences) / len(differences), 6),
                "difference_interval": mean_interval(differences),
                "recall100": self.measure(settings[name], golden).recall100,
            }
        return figures


def _with_known_vectors(embedder: Embedder, golden: GoldenQuestions) -> Any:
    """Let an embedder remember the questions, which are asked many times."""
    texts = list(golden.queries.values())
    known = dict(zip(texts, embedder.embed_queries(texts), strict=True))

    def recall(asked: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([known[text] for text in asked])

    return patch.object(embedder, "embed_queries", recall)


def _print_tuning(tuned: dict[Setting, float]) -> None:
    print(f"  tuning half, {len(tuned)} settings, nDCG@10")
    for method in _METHODS:
        best = [(setting, score) for setting, score in tuned.items() if setting.method == method][:_SHOWN]
        # The default is the line that the others are compared with.
        best += [(default_setting(), tuned[default_setting()])] if method == default_setting().method else []
        for setting, score in dict(best).items():
            print(f"    {score:.4f}  {setting}" + (" (the default)" if setting == default_setting() else ""))


def _print_heldout(figures: dict[str, dict[str, Any]]) -> None:
    print("  held-out half")
    for name, figure in figures.items():
        low, high = figure["difference_interval"]
        print(
            f"    {name:<19} nDCG@10 {figure['ndcg10']:.4f}, {figure['difference']:+.4f} to the default "
            f"(95%: {low:+.4f} to {high:+.4f}), recall@100 {figure['recall100']:.4f}: {figure['setting']}"
        )


def main() -> None:
    golden = sample_questions()
    tuning, held_out = halves(golden)
    figures: dict[str, Any] = {"tuning_questions": len(tuning.qrels), "heldout_questions": len(held_out.qrels)}
    with sample_release() as (release, embedder), _with_known_vectors(embedder, golden):
        for asked, feedback in {"with feedback": True, "without feedback": False}.items():
            bench = Bench(release, embedder, feedback)
            tuned = bench.tune(tuning)
            best = {method: next(setting for setting in tuned if setting.method == method) for method in _METHODS}
            compared = bench.compare(
                {"default": default_setting()} | {f"best {method}": setting for method, setting in best.items()},
                held_out,
            )
            print(asked)
            _print_tuning(tuned)
            _print_heldout(compared)
            figures[asked.replace(" ", "_")] = compared
    report(figures)


if __name__ == "__main__":
    main()
