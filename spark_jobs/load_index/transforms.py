"""Spark transforms: what each shard must hold, and building the shards."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, groupby, pairwise

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from forebay.documents import content_hash
from forebay.embedding.spec import EmbeddingSpec
from forebay.settings import IndexSettings
from forebay.store.contract import ShardBase, ShardBuilder, ShardRef
from forebay.store.reduction import Reduction

__all__ = [
    "INDEXED_COLUMNS",
    "KEY_COLUMNS",
    "LAYOUTS",
    "ShardDelta",
    "built_shards",
    "delta_of",
    "refs_of",
    "row_hashes",
    "shard_contents",
    "shard_identity",
]

INDEXED_COLUMNS = [
    "chunk_id",
    "doc_id",
    "shard",
    "title",
    "heading_path",
    "page",
    "text",
    "start_char",
    "end_char",
    "text_hash",
    "source",
    "uri",
    "format",
    "language",
    "metadata",
    "locations",
]
"""Columns of the chunk table that the index holds."""

KEY_COLUMNS = ["shard", "chunk_id", "text_hash", "doc_hash", "chunker", "source"]
"""Columns that decide about all `INDEXED_COLUMNS`: the document's version, the way of cutting, the source."""

LAYOUTS = {"embedded": "9", "weaviate": "11"}
"""Version of what a shard's folder, or a chunk in a collection, holds, by store; another one means that every shard is
built anew, and every release loaded anew. Up to 9, both stores had the same."""

_HALF_DIGITS = 15
# Column with the id of a chunk that a shard's base holds, and the shard doesn't.
_REMOVED = "removed_id"


@dataclass(frozen=True)
class ShardDelta:
    """How the chunks of some shards differ between two versions of the chunk table."""

    chunks: DataFrame
    """Columns `shard`, `chunk_id`, `is_added` (new, or of another version), `is_removed` (gone, or had another)."""
    added: dict[int, int]
    """Number of `is_added`, by shard."""
    removed: dict[int, int]
    """Number of `is_removed`, by shard."""

    def size(self, number: int) -> int:
        """Count the changes of a shard."""
        return self.added.get(number, 0) + self.removed.get(number, 0)

    def chunks_of(self, numbers: Collection[int], kind: str) -> DataFrame:
        """Give the chunks of some shards that are `is_added`, or `is_removed`: columns `shard`, `chunk_id`."""
        return self.chunks.where(F.col("shard").isin(list(numbers)) & F.col(kind)).select("shard", "chunk_id")


def row_hashes(keys: DataFrame) -> DataFrame:
    """Hash the rows of the chunk table.

    Args:
        keys: `KEY_COLUMNS` of it.

    Returns:
        Columns `shard`, `chunk_id`, `row_hash` (hex, 128 bits).
    """
    return keys.select("shard", "chunk_id", F.md5(F.to_json(F.struct(*KEY_COLUMNS))).alias("row_hash"))


def shard_identity(spec: EmbeddingSpec, settings: IndexSettings, reduction: Reduction | None) -> tuple[str, ...]:
    """Name the way of building shards."""
    layout = LAYOUTS[settings.store]
    # The identity of Weaviate's settings leaves it open.
    stemming = settings.stemming if settings.store == "weaviate" else ()
    named = (layout, spec.fingerprint, settings.identity, *stemming)
    return named if reduction is None else (*named, reduction.fingerprint)


def shard_contents(hashes: DataFrame, identity: tuple[str, ...]) -> dict[int, str]:
    """Give the content hash of every shard that has chunks.

    A sum of row hashes, so it depends on no order (AdHash; Source: Bellare & Micciancio, EUROCRYPT 1997); 120 bits.

    Args:
        hashes: As `row_hashes` gives them.
        identity: As `shard_identity` gives it.
    """
    sums = hashes.groupBy("shard").agg(
        F.count("*").alias("n"), _sum_of_hashes(1).alias("low"), _sum_of_hashes(1 + _HALF_DIGITS).alias("high")
    )
    return {
        int(row["shard"]): content_hash(*identity, str(row["n"]), str(row["low"]), str(row["high"]))
        for row in sums.collect()
    }


def delta_of(now: DataFrame, before: DataFrame) -> ShardDelta:
    """Compare two versions of the chunk table.

    Args:
        now: `row_hashes` of the shards to build.
        before: The same of the version that their earlier shards were built from.
    """
    new, old = now.withColumnRenamed("row_hash", "_new"), before.withColumnRenamed("row_hash", "_old")
    joined = new.join(old, ["shard", "chunk_id"], "full_outer")
    differs = joined.where("_new IS NULL OR _old IS NULL OR _new != _old")
    sides = (F.col("_new").isNotNull().alias("is_added"), F.col("_old").isNotNull().alias("is_removed"))
    chunks = differs.select("shard", "chunk_id", *sides).persist()
    counts = [F.count_if(kind).alias(kind) for kind in ("is_added", "is_removed")]
    rows = chunks.groupBy("shard").agg(*counts).collect()
    added, removed = ({row["shard"]: row[kind] for row in rows} for kind in ("is_added", "is_removed"))
    return ShardDelta(chunks, added, removed)


def _sum_of_hashes(position: int) -> Column:
    part = F.conv(F.substring("row_hash", position, _HALF_DIGITS), 16, 10)
    return F.sum(part.cast("decimal(38,0)"))


def built_shards(
    rows: DataFrame,
    embeddings: DataFrame,
    contents: dict[int, str],
    bases: dict[int, ShardRef],
    removed: DataFrame | None,
    store: ShardBuilder,
) -> DataFrame:
    """Build the named shards, each in one task that streams its rows.

    Args:
        rows: `INDEXED_COLUMNS` of the chunks to add.
        embeddings: Columns `text_hash`, `vector`.
        contents: Content hash of every shard to build.
        bases: Shards that only the difference is added to; a shard may have nothing to add.
        removed: Columns `shard`, `chunk_id` of what the bases hold and the new shards don't; None: nothing.
        store: Builds them.

    Returns:
        Column `ref`: a `ShardRef` as JSON, one row per shard.
    """
    spark = rows.sparkSession

    def build(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number, group in groupby(_by_shard(batches), key=lambda pair: pair[0]):
            gone, added = _divided(batch for _, batch in group)
            base = ShardBase(bases[number], gone) if number in bases else None
            ref = store.build_shard(number, contents[number], added, base)
            yield pa.RecordBatch.from_pydict({"ref": [ref.model_dump_json()]})

    joined = rows.join(embeddings.select("text_hash", "vector"), "text_hash", "left")
    # One row without a chunk per shard, so that a shard that only loses chunks has a task, too.
    markers = spark.createDataFrame(pa.table({"shard": pa.array(contents, pa.int32())}))
    marked = joined.withColumn(_REMOVED, F.lit(None).cast("string")).unionByName(markers, allowMissingColumns=True)
    if removed is not None:
        marked = marked.unionByName(removed.withColumnRenamed("chunk_id", _REMOVED), allowMissingColumns=True)
    # By position and not by hash, which would give some tasks several shards and others none.
    position = F.array_position(F.array(*map(F.lit, contents)), F.col("shard")) - 1
    # Rows without a chunk come first.
    placed = marked.repartitionById(len(contents), position.cast("int")).sortWithinPartitions("shard", "chunk_id")
    return placed.mapInArrow(build, "ref string")


def _divided(batches: Iterator[pa.RecordBatch]) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    """Divide a shard's rows into the ids of chunks that go, which are read at once, and the chunks to add."""
    gone: list[str] = []
    first: list[pa.RecordBatch] = []
    for batch in batches:
        gone += batch.column(_REMOVED).drop_null().to_pylist()
        first = [batch]
        if batch.column("chunk_id")[-1].is_valid:
            break
    added = (batch.filter(batch.column("chunk_id").is_valid()) for batch in chain(first, batches))
    return gone, (batch.drop_columns([_REMOVED]) for batch in added)


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
