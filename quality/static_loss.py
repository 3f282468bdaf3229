"""What a model's static form loses, and gains in speed, on judged documents."""

import json
import time
from pathlib import Path

import ir_measures
import numpy as np
from ir_measures import R, nDCG
from pydantic import BaseModel

from forebay.chunks import embedded_text
from forebay.embedding import Embedder, EmbeddingSpec
from forebay.embedding.distillation import distilled_model
from forebay.embedding.sentence_transformer import load_embedder
from forebay.golden import GoldenQuestions
from forebay.models import model_folder
from forebay.settings import PathSettings

__all__ = ["StaticLoss", "static_loss"]

_DOCUMENTS = 100
_RATE_TEXTS = 512


class StaticLoss(BaseModel):
    """A static embedding beside the full model; both search the whole documents exactly, by their vectors alone."""

    ndcg10_full: float
    """Mean nDCG@10 of the full model."""
    ndcg10_static: float
    """The same of its static form."""
    recall100_full: float
    """Mean recall@100 of the full model."""
    recall100_static: float
    """The same of its static form."""
    texts_per_s_ratio: float
    """Documents embedded in a second: static over full, both on all cores."""
    full: str
    """Engine and precision that the full model runs with."""
    dim: int
    """Length of a static vector."""
    static_bytes: int
    """Size of the static form's files."""
    full_bytes: int
    """Size of the full model's weights."""


def static_loss(full: EmbeddingSpec, static: EmbeddingSpec, paths: PathSettings, sample: Path) -> StaticLoss:
    """Measure the loss.

    Args:
        full: The model with any engine.
        static: The same model with the engine `static`.
        paths: The model cache.
        sample: Folder with `corpus.jsonl`, `queries.jsonl` and `qrels.tsv` (BEIR's layout).

    Raises:
        DataError: the questions can't be read.
        ModelError: a model is not there.
    """
    golden = GoldenQuestions.load(sample / "queries.jsonl", sample / "qrels.tsv")
    rows = [json.loads(line) for line in (sample / "corpus.jsonl").read_text("utf-8").splitlines()]
    texts = {str(row["_id"]): embedded_text(row.get("title", ""), "", row["text"]) for row in rows}
    full_ndcg, full_recall, full_rate = _measured(load_embedder(full, paths.models), texts, golden)
    static_ndcg, static_recall, static_rate = _measured(load_embedder(static, paths.models), texts, golden)
    folder = model_folder(full.model, paths.models)
    return StaticLoss(
        ndcg10_full=full_ndcg,
        ndcg10_static=static_ndcg,
        recall100_full=full_recall,
        recall100_static=static_recall,
        texts_per_s_ratio=round(static_rate / full_rate, 1),
        full=f"{full.engine} {full.precision}",
        dim=static.dim,
        static_bytes=_size(distilled_model(folder, paths.models), "*"),
        full_bytes=_size(folder, "*.safetensors"),
    )


def _measured(embedder: Embedder, texts: dict[str, str], golden: GoldenQuestions) -> tuple[float, float, float]:
    """Give nDCG@10, recall@100 and texts/s; documents of equal score stand in the order of the corpus."""
    asked = [query_id for query_id in golden.queries if golden.qrels.get(query_id)]
    questions = embedder.embed_queries([golden.queries[query_id] for query_id in asked])
    doc_ids = list(texts)
    vectors = embedder.embed_documents(list(texts.values()))
    some = list(texts.values())[:_RATE_TEXTS]
    began = time.perf_counter()
    embedder.embed_documents(some)
    texts_per_s = len(some) / (time.perf_counter() - began)
    best = np.argsort(-(questions @ vectors.T), axis=1, kind="stable")[:, :_DOCUMENTS]
    found = [
        ir_measures.ScoredDoc(query_id, doc_ids[position], float(-rank))
        for query_id, row in zip(asked, best, strict=True)
        for rank, position in enumerate(row.tolist())
    ]
    judged = [
        ir_measures.Qrel(query_id, doc_id, grade)
        for query_id in asked
        for doc_id, grade in golden.qrels[query_id].items()
    ]
    values = ir_measures.calc_aggregate([nDCG @ 10, R @ _DOCUMENTS], judged, found)
    return round(float(values[nDCG @ 10]), 4), round(float(values[R @ _DOCUMENTS]), 4), texts_per_s


def _size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern))
