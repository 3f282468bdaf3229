"""`forebay eval`: ask the golden questions of a release and print the figures."""

import argparse
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from forebay.cli.configuration import load_settings
from forebay.embedding.sentence_transformer import load_embedder
from forebay.errors import ForebayError, ReleaseError
from forebay.golden import GoldenQuestions
from forebay.releases import Evaluation, ReleaseManifest, ReleaseRegistry
from forebay.reranking.cross_encoder import load_reranker
from forebay.settings import PathSettings, ServingSettings
from forebay.store.contract import SearchMode
from forebay.store.opening import open_index
from quality.retrieval import evaluate

__all__ = ["evaluate_release", "main"]


_FIGURES = {"ndcg10": "nDCG@10 (95%)", "mrr10": "MRR@10 (95%)", "recall100": "recall@100 (95%)"}


def evaluate_release(
    manifest: ReleaseManifest, golden: GoldenQuestions, paths: PathSettings, serving: ServingSettings
) -> dict[str, Evaluation]:
    """Measure a release in each mode, as the service searches it, and with the reranker where the settings name one.

    Raises:
        ModelError: a model isn't there, or the reranker fails.
        ReleaseError: the release can't be opened.
    """
    reranker = load_reranker(serving, paths)
    embedder = load_embedder(manifest.embedding, paths.models)
    release = open_index(manifest, paths)
    try:
        measure = partial(evaluate, release, embedder, golden, feedback=serving.feedback, fusion=serving.fusion)
        found = {mode.value: measure(mode) for mode in SearchMode}
        if reranker is not None:
            found["hybrid, reranked"] = measure(reranker=reranker)
        return found
    finally:
        release.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives its exit status."""
    parser = argparse.ArgumentParser(prog="forebay eval", description=__doc__)
    paths = PathSettings()
    golden = paths.data.absolute() / "golden"
    parser.add_argument("--queries", type=Path, default=golden / "queries.jsonl", help="questions in BEIR's JSONL")
    parser.add_argument("--qrels", type=Path, default=golden / "qrels.tsv", help="judgements in BEIR's TSV")
    parser.add_argument("--release", help="release id (default: the current release)")
    options = parser.parse_args(arguments)
    try:
        serving = load_settings(ServingSettings)
        registry = ReleaseRegistry(paths.releases)
        manifest = registry.load(options.release) if options.release else registry.current()
        if manifest is None:
            raise ReleaseError("there is no release yet; run `forebay ingest PATH` first.")
        questions = GoldenQuestions.load(options.queries, options.qrels)
        with Console(stderr=True).status(f"asking {len(questions.queries)} questions"):
            figures = evaluate_release(manifest, questions, paths, serving)
    except ForebayError as exc:
        Console(stderr=True).print(f"[red]{exc}[/red]")
        return 1
    caption = f"{figures[SearchMode.HYBRID.value].questions} questions, legs joined by {serving.fusion}"
    table = Table("search", *_FIGURES.values(), title=f"release {manifest.release_id}", caption=caption)
    for search, measured in figures.items():
        table.add_row(search, *(_figure(measured, name) for name in _FIGURES))
    Console().print(table)
    return 0


def _figure(measured: Evaluation, name: str) -> str:
    value, interval = getattr(measured, name), measured.intervals.get(name)
    if value is None:
        return "-"
    return f"{value:.4f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


if __name__ == "__main__":
    sys.exit(main())
