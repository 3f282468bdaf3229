"""Spark transforms: what each shard must hold, and building the shards."""

from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from forebay.documents import content_hash
from forebay.embedding.spec import EmbeddingSpec
from forebay.settings import IndexSettings
from forebay.store.contract import ShardRef
from forebay.store.qdrant_edge import QdrantEdgeStore

__all__ = ["INDEXED_COLUMNS", "built_shards", "refs_of", "shard_contents"]

INDEXED_COLUMNS = [
    "chunk_id",
    "doc_id",
    "shard",
    "title",
    "heading_path",
    "text",
    "start_char",
    "end_char",
    "text_hash",
    "source",
    "uri",
    "format",
    "metadata",
]
"""Columns of the chunk table that the index holds."""

_HALF_DIGITS = 15


def shard_contents(chunks: DataFrame, spec: EmbeddingSpec, settings: IndexSettings) -> dict[int, str]:
    """Give the content hash of every shard that has chunks.

    A sum of row hashes, so it depends on no order (AdHash; Source: Bellare & Micciancio, EUROCRYPT 1997); 120 bits.
    """
    row_hash = F.md5(F.to_json(F.struct(*INDEXED_COLUMNS)))
    sums = chunks.groupBy("shard").agg(
        F.count("*").alias("n"),
        _sum_of(row_hash, 1).alias("low"),
        _sum_of(row_hash, 1 + _HALF_DIGITS).alias("high"),
    )
    identity = spec.fingerprint, settings.model_dump_json()
    return {
        int(row["shard"]): content_hash(*identity, str(row["n"]), str(row["low"]), str(row["high"]))
        for row in sums.collect()
    }


def _sum_of(row_hash: Column, position: int) -> Column:
    part = F.conv(F.substring(row_hash, position, _HALF_DIGITS), 16, 10)
    return F.sum(part.cast("decimal(38,0)"))


def built_shards(
    chunks: DataFrame,
    embeddings: DataFrame,
    contents: dict[int, str],
    *,
    root: Path,
    spec: EmbeddingSpec,
    settings: IndexSettings,
) -> DataFrame:
    """Build the named shards, each in one task that streams its rows.

    Returns:
        Column `ref`: a `ShardRef` as JSON, one row per shard.
    """

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        store = QdrantEdgeStore(root, spec, settings)
        for number, group in groupby(_by_shard(batches), key=lambda pair: pair[0]):
            ref = store.build_shard(number, contents[number], (batch for _, batch in group))
            yield pa.RecordBatch.from_pydict({"ref": [ref.model_dump_json()]})

    rows = chunks.where(F.col("shard").isin(list(contents))).select(*INDEXED_COLUMNS)
    joined = rows.join(embeddings.select("text_hash", "vector"), "text_hash", "left")
    placed = joined.repartition(len(contents), "shard").sortWithinPartitions("shard", "chunk_id")
    return placed.mapInArrow(build, "ref string")


def _by_shard(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut batches that are sorted by shard where the shard changes."""
    for batch in batches:
        if not batch.num_rows:
            continue
        shards = np.asarray(batch.column("shard"))
        starts = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), batch.num_rows]
        for start, end in pairwise(starts):
            yield int(shards[start]), batch.slice(start, end - start)


def refs_of(built: DataFrame) -> list[ShardRef]:
    """Run the build and collect what was built."""
    return [ShardRef.model_validate_json(row["ref"]) for row in built.collect()]
