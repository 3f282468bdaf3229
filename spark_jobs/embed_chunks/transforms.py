"""Spark transforms: making vectors, and counting what is wrong with them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.resource import ResourceProfile
from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from forebay.chunks import embedded_text
from forebay.embedding.contract import Embedder
from forebay.embedding.sentence_transformer import load_embedder
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import EmbeddingError
from quality.suites.embeddings import NORM_TOLERANCE
from spark_jobs.gpu_executors import take_own_gpu
from spark_jobs.metrics import count_where

__all__ = ["EMBEDDED_DDL", "embedded_rows", "observed_vectors", "vectors_of"]

EMBEDDED_DDL = "text_hash string, vector array<float>, run_id string"
"""Columns of made vectors."""


def vectors_of(
    texts: DataFrame,
    spec: EmbeddingSpec,
    models: Path,
    *,
    tasks: int,
    batch_tokens: int | None,
    run_id: str,
    profile: ResourceProfile | None = None,
) -> DataFrame:
    """Embed texts; the model is loaded once per Python worker, which Spark reuses between tasks.

    A worker computes with as many threads as its task has cores. A text that the model has no vector for is left out.

    Args:
        texts: Columns `text_hash`, `title`, `heading_path`, `text`.
        spec: Model of the vectors.
        models: The model cache.
        tasks: Among which the texts are divided.
        batch_tokens: Padded tokens of a batch; what suits the engine if None.
        run_id: Written beside every vector.
        profile: What tasks and executors ask for; nothing beside their cores if None.

    Returns:
        Columns `text_hash`, `vector` (spec.dim float32, unit length), `run_id`.
    """
    threads = int(texts.sparkSession.conf.get("spark.task.cpus", "1") or 1)

    def embed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        take_own_gpu()
        for batch in batches:
            if not batch.num_rows:
                continue
            embedder = load_embedder(spec, models, batch_tokens, threads)
            hashes, vectors = _embedded(embedder, batch)
            yield embedded_rows(hashes, vectors, run_id)

    return texts.repartition(tasks).mapInArrow(embed, EMBEDDED_DDL, profile=profile)


def _embedded(embedder: Embedder, batch: pa.RecordBatch) -> tuple[pa.Array, np.ndarray]:
    """Give the hashes of the texts that have a vector, and the vectors."""
    texts = [embedded_text(row["title"], row["heading_path"], row["text"]) for row in batch.to_pylist()]
    hashes = batch.column("text_hash")
    try:
        return hashes, embedder.embed_documents(texts)
    except EmbeddingError as exc:
        if not exc.broken:
            raise
        whole = np.setdiff1d(np.arange(len(texts)), exc.broken)
        return hashes.take(pa.array(whole)), embedder.embed_documents([texts[position] for position in whole])


def embedded_rows(hashes: pa.Array, vectors: np.ndarray, run_id: str) -> pa.RecordBatch:
    """Give rows in `EMBEDDED_DDL` of hashes, (n,), and their vectors, (n, dim)."""
    columns = [hashes, _list_array(vectors), pa.array([run_id] * len(hashes), pa.string())]
    return pa.RecordBatch.from_arrays(columns, names=["text_hash", "vector", "run_id"])


def _list_array(vectors: np.ndarray) -> pa.ListArray:
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, vectors.ravel())


def observed_vectors(rows: DataFrame, observation: Observation, dim: int) -> DataFrame:
    """Count broken vectors while they are written, under the names of `EMBEDDING_METRICS`."""
    return rows.observe(
        observation,
        count_where(F.size("vector") != dim, "wrong_dimension"),
        count_where(F.isnan(_squared_length()), "not_finite"),
        # NaN is greater than every number in Spark, so it counts here too.
        count_where(F.abs(F.sqrt(_squared_length()) - 1) > NORM_TOLERANCE, "not_unit_length"),
    )


def _squared_length() -> Column:
    return F.aggregate("vector", F.lit(0.0), lambda total, x: total + x.cast("double") * x.cast("double"))
