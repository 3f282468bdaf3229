"""Bring the chunk table up to date with the published documents, check it, publish it."""

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from forebay.embedding.sentence_transformer import resolve_spec
from forebay.errors import DataError, QualityError
from forebay.models import model_folder
from forebay.settings import ChunkSettings, CorpusSettings, EmbeddingSettings, PathSettings, SparkSettings
from forebay.tables import Table, chunk_table, document_table
from quality.suites.chunks import CHUNK_CHECKS, CHUNK_METRICS, check_chunks
from quality.validate import CheckOutcome
from spark_jobs.chunk_documents.chunker import chunker_fingerprint
from spark_jobs.chunk_documents.transforms import chunks_of, document_changes
from spark_jobs.lance_source import append_lance, read_lance
from spark_jobs.metrics import count_where, duplicate_keys
from spark_jobs.pipes import JobOrders, Reporter, run_job
from spark_jobs.session import spark_session

__all__ = ["chunk"]


def chunk(orders: JobOrders, report: Reporter) -> None:
    """Cut the documents that are new or changed; see the module."""
    paths = PathSettings()
    spec = resolve_spec(EmbeddingSettings(), paths)
    chunker = chunker_fingerprint(ChunkSettings(), spec.revision)
    documents, chunks = document_table(paths.tables), chunk_table(paths.tables)
    version = documents.published_version()
    if version is None:
        raise DataError("there are no published documents yet; materialize the asset `documents` first.")
    is_there = chunks.published_version() is not None
    chunks.prepare()
    done = f"chunked-{chunker}"
    if is_there and documents.tag(done) == version:
        report.unchanged(chunks, CHUNK_CHECKS)
        return
    # Set again at the end: a tag of an earlier table must not vouch for this one if the job is killed.
    documents.clear_tag(done)
    with spark_session("chunk_documents", SparkSettings(), paths) as spark:
        counts, metrics = _write(spark, documents, chunks, orders, chunker, spec.max_tokens)
        report.progress(", ".join(f"{count} documents {name}" for name, count in counts.items()))
        outcomes = _check(spark, documents, chunks, metrics, orders, paths, spec.max_tokens)
    report.checks(outcomes)
    report.materialization(rows=chunks.count(), size_bytes=chunks.size_bytes(), changed=counts)
    if not all(outcome.passed for outcome in outcomes):
        chunks.prepare()
        raise QualityError("the chunks failed a blocking check; the chunk table stays as it was.")
    chunks.publish()
    if orders.is_full:
        documents.set_tag(done, version)


def _write(
    spark: SparkSession, documents: Table, chunks: Table, orders: JobOrders, chunker: str, max_tokens: int
) -> tuple[dict[str, int], dict[str, int]]:
    version = documents.published_version()
    keys = read_lance(spark, documents.uri, version=version, columns=["doc_id", "content_hash"], where=orders.where)
    cut = read_lance(spark, chunks.uri, columns=["doc_id", "doc_hash", "chunker"], where=orders.where)
    diff = document_changes(keys, cut, chunker).persist()
    counts = {row["change"]: int(row["count"]) for row in diff.groupBy("change").count().collect()}
    gone = diff.where("change IN ('changed', 'deleted')").select("doc_id").collect()
    chunks.delete_keys("doc_id", [row["doc_id"] for row in gone])
    metrics: dict[str, int] = {name: 0 for name in CHUNK_METRICS}
    if counts.get("new", 0) + counts.get("changed", 0):
        whole = read_lance(spark, documents.uri, version=version, where=orders.where)
        wanted = whole.join(diff.where("change IN ('new', 'changed')"), "doc_id", "left_semi")
        paths = PathSettings()
        rows = chunks_of(
            wanted.repartition(spark.sparkContext.defaultParallelism * 4),
            corpus=CorpusSettings().name,
            model=model_folder(EmbeddingSettings().model, paths.models),
            settings=ChunkSettings(),
            chunker=chunker,
            run_id=orders.run_id,
        )
        observation = Observation("chunks")
        append_lance(_observed(rows, observation, max_tokens), chunks.uri)
        metrics = {name: int(observation.get[name]) for name in CHUNK_METRICS}
    return {name: counts.get(name, 0) for name in ("new", "changed", "unchanged", "deleted")}, metrics


def _observed(rows: DataFrame, observation: Observation, max_tokens: int) -> DataFrame:
    return rows.observe(
        observation,
        count_where(F.length(F.trim("text")) == 0, "blank_chunks"),
        count_where((F.col("n_tokens") > max_tokens) | (F.col("n_tokens") < 1), "chunks_over_budget"),
        count_where(F.col("end_char") <= F.col("start_char"), "chunks_without_place"),
    )


def _check(
    spark: SparkSession,
    documents: Table,
    chunks: Table,
    metrics: dict[str, int],
    orders: JobOrders,
    paths: PathSettings,
    max_tokens: int,
) -> list[CheckOutcome]:
    keys = read_lance(spark, chunks.uri, columns=["chunk_id", "doc_id"], where=orders.where).persist()
    version = documents.published_version()
    known = read_lance(spark, documents.uri, version=version, columns=["doc_id"], where=orders.where)
    return check_chunks(
        chunks,
        metrics,
        duplicate_ids=duplicate_keys(keys, "chunk_id"),
        documents_without_chunks=known.join(keys, "doc_id", "left_anti").count(),
        run_id=orders.run_id,
        max_tokens=max_tokens,
        docs=paths.quality,
    )


if __name__ == "__main__":
    run_job(chunk)
