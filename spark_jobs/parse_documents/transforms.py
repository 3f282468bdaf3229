"""Spark transforms: units of reading -> parsed rows -> documents, rejects and the difference to the table."""

from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from forebay.documents import DOCUMENTS, QUARANTINE, RejectionReason, content_hash
from forebay.sources import ReadUnit
from spark_jobs.parse_documents.formats import Parsed, parse_unit

__all__ = ["changes", "documents_of", "parsed_rows", "rejects_of", "with_shard", "without_duplicates"]

_PARSED = pa.schema(
    [
        ("uri", pa.string()),
        ("line", pa.int64()),
        ("doc_id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("format", pa.string()),
        ("metadata", pa.string()),
        ("content_hash", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
_PARSED_DDL = (
    "uri string, line bigint, doc_id string, title string, text string, format string, metadata string, "
    "content_hash string, reason string, detail string"
)
_BATCH_ROWS = 256


def parsed_rows(spark: SparkSession, units: list[ReadUnit], max_bytes: int) -> DataFrame:
    """Read and parse all units, one row per document or reject (`reason` is null for documents)."""
    rows = [(bytearray(unit.path), unit.uri, unit.format, unit.start, unit.end) for unit in units]
    listed = spark.createDataFrame(rows, "path binary, uri string, format string, start bigint, end bigint")
    tasks = max(1, min(len(units), spark.sparkContext.defaultParallelism * 8))

    def parse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        held: list[dict[str, object]] = []
        for batch in batches:
            for row in batch.to_pylist():
                for item in parse_unit(ReadUnit(**row), max_bytes):
                    held.append(_row(item))
                    if len(held) == _BATCH_ROWS:
                        yield pa.RecordBatch.from_pylist(held, _PARSED)
                        held = []
        if held:
            yield pa.RecordBatch.from_pylist(held, _PARSED)

    return listed.repartition(tasks).mapInArrow(parse, _PARSED_DDL)


def _row(item: object) -> dict[str, object]:
    row = dict(vars(item))
    if isinstance(item, Parsed):
        row["content_hash"] = content_hash(item.uri, item.title, item.text, item.format, item.metadata)
    return row


def without_duplicates(parsed: DataFrame, taken: DataFrame) -> DataFrame:
    """Reject every document but the first of an id, and those whose id another source holds.

    Args:
        parsed: As `parsed_rows` gives it.
        taken: Column `doc_id`: ids of the other sources' documents.
    """
    order = Window.partitionBy("doc_id", F.col("reason").isNull()).orderBy("uri", "line")
    place = F.when(F.col("reason").isNull(), F.row_number().over(order))
    other = taken.select("doc_id", F.lit(True).alias("_taken"))
    joined = parsed.withColumn("_place", place).join(other, "doc_id", "left")
    is_duplicate = F.col("reason").isNull() & ((F.col("_place") > 1) | F.col("_taken").isNotNull())
    detail = F.when(F.col("_taken").isNotNull(), "a document of another source has this id").otherwise(
        "an earlier document of this source has this id"
    )
    return joined.select(
        *[name for name in _PARSED.names if name not in ("reason", "detail")],
        F.when(is_duplicate, F.lit(RejectionReason.DUPLICATE_ID.value)).otherwise(F.col("reason")).alias("reason"),
        F.when(is_duplicate, detail).otherwise(F.col("detail")).alias("detail"),
    )


def with_shard(frame: DataFrame, n_shards: int) -> DataFrame:
    """Add `shard`: pmod(xxhash64(doc_id), n_shards)."""
    return frame.withColumn("shard", F.expr(f"cast(pmod(xxhash64(doc_id), {n_shards}) as int)"))


def documents_of(parsed: DataFrame, source: str, run_id: str, n_shards: int) -> DataFrame:
    """Select the accepted documents, in the schema of the document table."""
    frame = with_shard(parsed.where(F.col("reason").isNull()), n_shards)
    frame = frame.withColumn("source", F.lit(source)).withColumn("run_id", F.lit(run_id))
    return frame.select(*DOCUMENTS.names)


def rejects_of(parsed: DataFrame, source: str, run_id: str) -> DataFrame:
    """Select the rejects, in the schema of the quarantine table."""
    frame = parsed.where(F.col("reason").isNotNull())
    frame = frame.withColumn("source", F.lit(source)).withColumn("run_id", F.lit(run_id))
    return frame.select(*QUARANTINE.names)


def changes(documents: DataFrame, current: DataFrame) -> DataFrame:
    """Compare documents with what the table holds, by key and content hash only.

    Args:
        documents: Columns `doc_id`, `content_hash` of the source as it is now.
        current: The same columns of the table.

    Returns:
        Columns `doc_id`, `change`: `new`, `changed`, `unchanged` or `deleted`.
    """
    new = documents.select("doc_id", F.col("content_hash").alias("_new"))
    old = current.select("doc_id", F.col("content_hash").alias("_old"))
    change = (
        F.when(F.col("_old").isNull(), "new")
        .when(F.col("_new").isNull(), "deleted")
        .when(F.col("_new") == F.col("_old"), "unchanged")
        .otherwise("changed")
    )
    return new.join(old, "doc_id", "full_outer").select("doc_id", change.alias("change"))
