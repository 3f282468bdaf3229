"""Is late chunking worth it? Chunks of the sample's abstracts, embedded in four ways; about five minutes.

alone: a chunk's text by itself. titled: with its document's title (`embedded_text`). late_untitled: the texts of a
window at once. late: the same with the titles, as the engine `late` does. All cut alike, as short as late chunking cuts
them, in bf16, searched exactly, a document by its best chunk. FOREBAY_EMBEDDING_MODEL names another model.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ir_measures
import numpy as np
from ir_measures import R, nDCG

from benchmarks.machine import SAMPLE, report
from forebay.chunks import chunk_limits, embedded_text
from forebay.embedding.choice import candidate_specs
from forebay.embedding.late_chunking import load_window_embedder
from forebay.embedding.sentence_transformer import load_embedder
from forebay.embedding.spec import EmbeddingSpec
from forebay.embedding.tokens import TokenCounter
from forebay.embedding.windows import windows_of
from forebay.golden import GoldenQuestions
from forebay.models import model_folder
from forebay.settings import ChunkSettings, EmbeddingSettings, PathSettings
from spark_jobs.chunk_documents.chunker import Chunker, Piece

_RESAMPLES = 10_000
_WAYS = ("alone", "titled", "late_untitled", "late")


def _cut(spec: EmbeddingSpec, models: Path, rows: list[dict[str, str]]) -> tuple[list[list[Piece]], int]:
    """Give the chunks of every document, and the tokens of a window."""
    limits = chunk_limits(ChunkSettings(), spec.max_tokens, is_late=True)
    assert limits.window_tokens is not None
    chunker = Chunker(limits, TokenCounter.of(model_folder(spec.model, models)))
    return [list(chunker.split(row["title"], row["text"], "text")) for row in rows], limits.window_tokens


def _vectors(spec: EmbeddingSpec, models: Path, cut: list[list[Piece]], window_tokens: int) -> dict[str, np.ndarray]:
    """Give the chunks' vectors in each way, (n_chunks, dim)."""
    late, plain = load_window_embedder(spec, models), load_embedder(spec, models)
    found: dict[str, np.ndarray] = {}
    for is_titled in (False, True):
        texts = [[embedded_text(p.title, p.heading_path, p.text) if is_titled else p.text for p in own] for own in cut]
        places = [windows_of([piece.n_tokens for piece in own], window_tokens) for own in cut]
        windows = [
            [own[place] for place in window]
            for own, found_places in zip(texts, places, strict=True)
            for window in found_places
        ]
        found["titled" if is_titled else "alone"] = plain.embed_documents([text for own in texts for text in own])
        found["late" if is_titled else "late_untitled"] = np.concatenate(late.embed_windows(windows))
    return found


def main() -> None:
    golden, paths = GoldenQuestions.load(SAMPLE / "queries.jsonl", SAMPLE / "qrels.tsv"), PathSettings()
    rows = [json.loads(line) for line in (SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["text"].strip()]
    model = EmbeddingSettings().model
    settings = EmbeddingSettings(model=model, engine="late", precision="bf16")
    spec = candidate_specs(settings, model_folder(model, paths.models))[0]
    cut, window_tokens = _cut(spec, paths.models, rows)
    owners = np.repeat(np.arange(len(rows)), [len(own) for own in cut])
    vectors = _vectors(spec, paths.models, cut, window_tokens)
    asked = [query_id for query_id in golden.queries if golden.qrels.get(query_id)]
    questions = load_embedder(spec, paths.models).embed_queries([golden.queries[query_id] for query_id in asked])
    figures = {way: _figures(questions @ vectors[way].T, owners, rows, golden, asked) for way in _WAYS}
    for way, (ndcg, recall) in figures.items():
        print(f"{way:<12} nDCG@10 {ndcg.mean():.4f}  recall@100 {recall.mean():.4f}")
    differences = {
        f"{later} - {now}": [_interval(a - b) for a, b in zip(figures[later], figures[now], strict=True)]
        for later, now in (("late_untitled", "alone"), ("late_untitled", "titled"), ("late", "titled"))
    }
    for name, (ndcg, recall) in differences.items():
        print(f"{name}: nDCG@10 {ndcg}, recall@100 {recall} (difference, 95% interval)")
    report(
        {
            **{f"ndcg10_{way}": round(float(ndcg.mean()), 4) for way, (ndcg, _) in figures.items()},
            **{f"recall100_{way}": round(float(recall.mean()), 4) for way, (_, recall) in figures.items()},
            "differences": differences,
            "documents": len(rows),
            "chunks": len(owners),
            "questions": len(asked),
        }
    )


def _figures(
    scores: np.ndarray, owners: np.ndarray, rows: list[dict[str, str]], golden: GoldenQuestions, asked: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Give nDCG@10 and recall@100 of every question."""
    best = np.full((len(asked), len(rows)), -np.inf)
    np.maximum.at(best, (slice(None), owners), scores)
    order = np.argsort(-best, axis=1, kind="stable")[:, :100]
    found = [
        ir_measures.ScoredDoc(query_id, rows[position]["_id"], float(-rank))
        for query_id, row in zip(asked, order, strict=True)
        for rank, position in enumerate(row.tolist())
    ]
    judged = [ir_measures.Qrel(q, doc_id, grade) for q in asked for doc_id, grade in golden.qrels[q].items()]
    values = {(v.measure, v.query_id): v.value for v in ir_measures.iter_calc([nDCG @ 10, R @ 100], judged, found)}
    return (
        np.array([values[nDCG @ 10, query_id] for query_id in asked]),
        np.array([values[R @ 100, query_id] for query_id in asked]),
    )


def _interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Give the mean of paired differences and its 95% interval, by bootstrap over the questions."""
    drawn = np.random.default_rng(0).integers(0, len(differences), (_RESAMPLES, len(differences)))
    low, high = np.quantile(differences[drawn].mean(axis=1), (0.025, 0.975))
    return round(float(differences.mean()), 4), round(float(low), 4), round(float(high), 4)


if __name__ == "__main__":
    main()
