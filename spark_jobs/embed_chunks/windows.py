"""Spark transforms of late chunking: which windows to read, and making the vectors of their texts."""

from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.resource import ResourceProfile
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from forebay.chunks import embedded_text
from forebay.embedding.late_chunking import WindowEmbedder, load_window_embedder
from forebay.embedding.spec import EmbeddingSpec
from forebay.embedding.windows import KEY_DIGITS
from forebay.errors import EmbeddingError
from spark_jobs.embed_chunks.transforms import EMBEDDED_DDL, embedded_rows
from spark_jobs.gpu_executors import take_own_gpu

__all__ = ["reading_key", "whole_windows", "window_vectors_of"]

_WINDOWS_AT_ONCE = 256


def reading_key() -> Column:
    """Name what the model reads at once: a window, or a text that stands alone."""
    return F.substring("text_hash", 1, KEY_DIGITS)


def whole_windows(hashes: DataFrame, wanted: DataFrame) -> DataFrame:
    """Add to text hashes the others of their windows: the model has to see them, too.

    Args:
        hashes: Column `text_hash`.
        wanted: The same, of all chunks.
    """
    keys = hashes.select(reading_key().alias("_window")).distinct()
    return wanted.withColumn("_window", reading_key()).join(keys, "_window", "left_semi").drop("_window")


def window_vectors_of(
    texts: DataFrame,
    spec: EmbeddingSpec,
    models: Path,
    *,
    tasks: int,
    batch_tokens: int | None,
    run_id: str,
    profile: ResourceProfile | None = None,
) -> DataFrame:
    """Embed texts with late chunking; as `vectors_of`, and of a window all texts are left out where one is.

    Args:
        texts: Columns `text_hash`, `title`, `heading_path`, `text`; every text of a window.
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
        windows = _windows(batches)
        while some := list(islice(windows, _WINDOWS_AT_ONCE)):
            embedder = load_window_embedder(spec, models, batch_tokens, threads)
            yield _embedded(embedder, some, spec.dim, run_id)

    number = F.substring_index("text_hash", ":", -1).cast("int")
    keyed = texts.withColumns({"_window": reading_key(), "_number": number})
    placed = keyed.repartition(tasks, "_window").sortWithinPartitions("_window", "_number")
    return placed.drop("_window", "_number").mapInArrow(embed, EMBEDDED_DDL, profile=profile)


def _windows(batches: Iterator[pa.RecordBatch]) -> Iterator[list[dict[str, Any]]]:
    rows = (row for batch in batches for row in batch.to_pylist())
    for _, window in groupby(rows, key=lambda row: row["text_hash"][:KEY_DIGITS]):
        yield list(window)


def _embedded(embedder: WindowEmbedder, windows: list[list[dict[str, Any]]], dim: int, run_id: str) -> pa.RecordBatch:
    texts = [[embedded_text(row["title"], row["heading_path"], row["text"]) for row in window] for window in windows]
    try:
        vectors = embedder.embed_windows(texts)
    except EmbeddingError as exc:
        if not exc.broken:
            raise
        whole = [position for position in range(len(windows)) if position not in set(exc.broken)]
        windows = [windows[place] for place in whole]
        vectors = embedder.embed_windows([texts[place] for place in whole])
    hashes = pa.array([row["text_hash"] for window in windows for row in window], pa.string())
    return embedded_rows(hashes, np.concatenate([np.zeros((0, dim), np.float32), *vectors]), run_id)
