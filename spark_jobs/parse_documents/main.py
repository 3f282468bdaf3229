"""Bring the document and quarantine tables up to date with a source folder, check them, publish them."""

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from forebay.errors import QualityError
from forebay.settings import CorpusSettings, PathSettings, SparkSettings
from forebay.sources import ReadUnit, list_source
from forebay.tables import Table, document_table, quarantine_table
from quality.suites.documents import check_documents
from spark_jobs.lance_source import append_lance, read_lance
from spark_jobs.metrics import duplicate_keys
from spark_jobs.parse_documents.transforms import (
    changes,
    documents_of,
    parsed_rows,
    rejects_of,
    without_duplicates,
)
from spark_jobs.pipes import JobOrders, Reporter, run_job
from spark_jobs.session import spark_session

__all__ = ["ingest"]

_CHANGES = ("new", "changed", "unchanged", "deleted")


def ingest(orders: JobOrders, report: Reporter) -> None:
    """Ingest one source; see the module."""
    paths, corpus = PathSettings(), CorpusSettings()
    assert orders.source is not None
    source = Path(orders.source).absolute()
    units = list_source(source)
    report.progress(f"reading {len(units)} files of {source}")
    documents, quarantine = document_table(paths.tables), quarantine_table(paths.tables)
    documents.prepare()
    quarantine.prepare()
    with spark_session("parse_documents", SparkSettings(), paths) as spark:
        parsed = _parsed(spark, units, corpus, str(source), documents).persist()
        accepted = documents_of(parsed, str(source), orders.run_id, orders.n_shards)
        if not orders.is_full:
            accepted = accepted.where(orders.where or "true")
        rejects = rejects_of(parsed, str(source), orders.run_id)
        counts = _write_changes(spark, documents, accepted, orders, str(source))
        rejected = _replace_rejects(spark, quarantine, rejects, str(source))
        counts["rejected"] = rejected
        report.progress(", ".join(f"{count} {name}" for name, count in counts.items()))
        outcomes = check_documents(
            documents,
            counts,
            duplicate_ids=duplicate_keys(read_lance(spark, documents.uri, columns=["doc_id"]), "doc_id"),
            run_id=orders.run_id,
            max_rejected_share=corpus.max_rejected_share,
            docs=paths.quality,
        )
    report.checks(outcomes)
    # The rejects explain a failure, so they are shown whatever the checks say.
    quarantine.publish()
    report.materialization(rows=documents.count(), size_bytes=documents.size_bytes(), changed=counts)
    if not all(outcome.passed for outcome in outcomes):
        documents.prepare()
        raise QualityError("the documents failed a blocking check; the document table stays as it was.")
    documents.publish()


def _parsed(
    spark: SparkSession, units: list[ReadUnit], corpus: CorpusSettings, source: str, documents: Table
) -> DataFrame:
    quoted = source.replace("'", "''")
    taken = read_lance(spark, documents.uri, columns=["doc_id"], where=f"source != '{quoted}'")
    return without_duplicates(parsed_rows(spark, units, corpus.max_document_bytes), taken)


def _write_changes(
    spark: SparkSession, documents: Table, accepted: DataFrame, orders: JobOrders, source: str
) -> dict[str, int]:
    quoted = source.replace("'", "''")
    where = f"source = '{quoted}'" + ("" if orders.where is None else f" AND {orders.where}")
    current = read_lance(spark, documents.uri, columns=["doc_id", "content_hash"], where=where)
    diff = changes(accepted, current).persist()
    counted = {row["change"]: row["count"] for row in diff.groupBy("change").count().collect()}
    gone = [row["doc_id"] for row in diff.where("change IN ('changed', 'deleted')").select("doc_id").collect()]
    documents.delete_keys("doc_id", gone)
    if counted.get("new", 0) + counted.get("changed", 0):
        wanted = diff.where("change IN ('new', 'changed')").select("doc_id")
        append_lance(accepted.join(wanted, "doc_id", "left_semi"), documents.uri)
    return {name: int(counted.get(name, 0)) for name in _CHANGES}


def _replace_rejects(spark: SparkSession, quarantine: Table, rejects: DataFrame, source: str) -> int:
    """Replace the source's rejects, unless they are the same as last time."""
    quoted = source.replace("'", "''")
    old = read_lance(spark, quarantine.uri, where=f"source = '{quoted}'")
    count, fingerprint = _fingerprint(rejects)
    if _fingerprint(old) != (count, fingerprint):
        quarantine.delete_keys("source", [source])
        append_lance(rejects, quarantine.uri)
    return count


def _fingerprint(rejects: DataFrame) -> tuple[int, int]:
    row_hash = F.xxhash64("uri", "reason", "detail", "doc_id")
    row = rejects.agg(F.count("*").alias("n"), F.bit_xor(row_hash).alias("h")).first()
    return (0, 0) if row is None or not row["n"] else (int(row["n"]), int(row["h"]))


if __name__ == "__main__":
    run_job(ingest)
