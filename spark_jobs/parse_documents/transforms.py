"""Spark transforms: units of reading -> parsed rows -> documents, rejects and the difference to the table."""

from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from forebay.documents import DOCUMENTS, QUARANTINE, RejectionReason, content_hash
from forebay.settings import CorpusSettings
from forebay.sources.contract import ReadUnit, Source
from forebay.sources.unit_list import UnitList
from spark_jobs.broadcasts import broadcast_few
from spark_jobs.parse_documents.parsing import Parsed, parse_unit
from spark_jobs.parse_documents.readers.fields import audience_of
from spark_jobs.parse_documents.reading import UNREAD
from spark_jobs.parse_documents.signatures import bands_of, language_of, shingles_of
from spark_jobs.row_batches import batches_of

__all__ = [
    "changes",
    "documents_of",
    "latest_of_each",
    "parsed_rows",
    "rejects_of",
    "unread_units",
    "with_shard",
    "without_documents_of",
    "without_duplicate_ids",
]

_PARSED = pa.schema(
    [
        ("uri", pa.string()),
        ("unit", pa.string()),
        ("line", pa.int64()),
        ("doc_id", pa.string()),
        ("title", pa.string()),
        ("text", pa.string()),
        ("format", pa.string()),
        ("language", pa.string()),
        ("metadata", pa.string()),
        ("content_hash", pa.string()),
        ("bands", pa.list_(pa.int64())),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
_UNITS_PER_TASK = 2000
# A row with neither text nor reason: the source says that the document is gone.
_IS_DOCUMENT = "reason IS NULL AND text IS NOT NULL"


def parsed_rows(spark: SparkSession, source: Source, units: UnitList, corpus: CorpusSettings) -> DataFrame:
    """Read and parse units, one row per document, reject (`reason` is set) or deletion (`text` is null)."""
    # From Arrow: rows of Python objects are converted by Python workers of another kind, with a start of their own.
    listed = spark.createDataFrame(units.table)
    cores = spark.sparkContext.defaultParallelism
    tasks = max(1, min(len(units), max(cores * 4, len(units) // _UNITS_PER_TASK)))

    def parse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        units = (ReadUnit(**row) for batch in batches for row in batch.to_pylist())
        rows = (
            _row(unit, item)
            for unit in units
            for item in parse_unit(source, unit, corpus.max_document_bytes, parser_timeout_s=corpus.parser_timeout_s)
        )
        return batches_of(rows, _PARSED)

    return listed.repartition(tasks).mapInArrow(parse, from_arrow_schema(_PARSED))


def _row(unit: ReadUnit, item: object) -> dict[str, object]:
    row: dict[str, object] = {**vars(item), "unit": unit.uri}
    if isinstance(item, Parsed):
        audience = audience_of(item.metadata)
        # Its audience is in the metadata, too; named again, so that rows whose bands lack it are replaced.
        own = [audience] if audience else []
        row["content_hash"] = content_hash(item.uri, item.title, item.text, item.format, item.metadata, *own)
        row["language"] = language_of(item.text)
        row["bands"] = bands_of(shingles_of(item.text), audience)
    return row


def without_duplicate_ids(parsed: DataFrame, taken: DataFrame) -> DataFrame:
    """Reject every document but the first of an id, and those whose id a document that isn't read again holds.

    Args:
        parsed: As `parsed_rows` gives it.
        taken: Column `doc_id`: ids of documents that are not among the parsed ones.
    """
    order = Window.partitionBy("doc_id", F.expr(_IS_DOCUMENT)).orderBy("uri", "line")
    other = taken.select("doc_id", F.lit(True).alias("_taken"))
    joined = parsed.withColumn("_place", F.row_number().over(order)).join(other, "doc_id", "left")
    is_duplicate = F.expr(_IS_DOCUMENT) & ((F.col("_place") > 1) | F.col("_taken").isNotNull())
    return _rejecting(joined, is_duplicate, F.lit("another document, read before this one, has this id"))


def latest_of_each(parsed: DataFrame, taken: DataFrame) -> DataFrame:
    """Keep the last word on every id of a stream, and reject ids that another source holds.

    Args:
        parsed: As `parsed_rows` gives it, of a source that tells of changes.
        taken: Column `doc_id`: ids of other sources' documents.
    """
    is_word = F.col("reason").isNull()
    order = Window.partitionBy("doc_id", is_word).orderBy(F.col("line").desc(), "uri")
    other = taken.select("doc_id", F.lit(True).alias("_taken"))
    last = parsed.withColumn("_place", F.row_number().over(order)).where(~is_word | (F.col("_place") == 1))
    joined = last.join(other, "doc_id", "left")
    is_taken = is_word & F.col("_taken").isNotNull()
    placed = joined.withColumn("uri", F.when(is_taken, F.concat_ws("@", "uri", "line")).otherwise(F.col("uri")))
    return _rejecting(placed, is_taken, F.lit("a document of another source has this id"))


def unread_units(parsed: DataFrame) -> frozenset[str]:
    """Name the units that could not be read to their end."""
    unread = parsed.where(F.col("reason").isin([reason.value for reason in UNREAD])).select("unit")
    return frozenset(row["unit"] for row in unread.collect())


def without_documents_of(parsed: DataFrame, units: frozenset[str]) -> DataFrame:
    """Leave out the documents of some units, whose rejects stay."""
    named = parsed.sparkSession.createDataFrame(pa.table({"unit": sorted(units)}))
    named = broadcast_few(named, len(units))
    documents, rejects = parsed.where("reason IS NULL"), parsed.where("reason IS NOT NULL")
    return documents.join(named, "unit", "left_anti").select(*parsed.columns).unionByName(rejects)


def _rejecting(frame: DataFrame, condition: Column, detail: Column) -> DataFrame:
    return frame.select(
        *[name for name in _PARSED.names if name not in ("reason", "detail")],
        F.when(condition, F.lit(RejectionReason.DUPLICATE_ID.value)).otherwise(F.col("reason")).alias("reason"),
        F.when(condition, detail).otherwise(F.col("detail")).alias("detail"),
    )


def with_shard(frame: DataFrame, n_shards: int) -> DataFrame:
    """Add `shard`: pmod(xxhash64(doc_id), n_shards)."""
    return frame.withColumn("shard", F.expr(f"cast(pmod(xxhash64(doc_id), {n_shards}) as int)"))


def documents_of(parsed: DataFrame, source: str, run_id: str, n_shards: int) -> DataFrame:
    """Select the accepted documents, in the schema of the document table."""
    frame = with_shard(parsed.where(_IS_DOCUMENT), n_shards)
    frame = frame.withColumn("source", F.lit(source)).withColumn("run_id", F.lit(run_id))
    return frame.select(*DOCUMENTS.names)


def rejects_of(parsed: DataFrame, source: str, run_id: str) -> DataFrame:
    """Select the rejects, in the schema of the quarantine table."""
    frame = parsed.where(F.col("reason").isNotNull())
    frame = frame.withColumn("source", F.lit(source)).withColumn("run_id", F.lit(run_id))
    return frame.select(*QUARANTINE.names)


def changes(parsed: DataFrame, current: DataFrame) -> DataFrame:
    """Compare what was parsed with what the table holds of it, by key and content hash only.

    Args:
        parsed: Columns `doc_id`, `content_hash`; the hash is null for a document that the source says is gone.
        current: The same columns of those documents of the table that the parsed ones replace.

    Returns:
        Columns `doc_id`, `change`: `new`, `changed`, `unchanged` or `deleted`.
    """
    new = parsed.select("doc_id", F.col("content_hash").alias("_new"))
    old = current.select("doc_id", F.col("content_hash").alias("_old"))
    change = (
        F.when(F.col("_new").isNull(), F.when(F.col("_old").isNotNull(), "deleted"))
        .when(F.col("_old").isNull(), "new")
        .when(F.col("_new") == F.col("_old"), "unchanged")
        .otherwise("changed")
    )
    joined = new.join(old, "doc_id", "full_outer").select("doc_id", change.alias("change"))
    return joined.where("change IS NOT NULL")
