"""Bring the comparisons of documents that may be duplicates up to date: what hasn't changed isn't compared again."""

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from forebay.documents import COMPARISONS
from forebay.settings import DuplicateSettings
from spark_jobs.broadcasts import broadcast_few
from spark_jobs.lance_frames import read_lance, read_lance_keys, replace_lance
from spark_jobs.parse_documents.duplicates import banded_documents, candidate_pairs, compared_pairs, shared_bands
from spark_jobs.parse_documents.tables import DocumentTables

__all__ = ["compare_documents"]

_PAIR = ["one", "other"]


def compare_documents(spark: SparkSession, tables: DocumentTables, settings: DuplicateSettings, run_id: str) -> None:
    """Compare the pairs that are new, or of which this run has written a document; forget those that are none any more.

    Args:
        spark: The session.
        tables: Documents as this run has written them, comparisons as the run before left them.
        settings: Scope.
        run_id: This run.
    """
    documents = read_lance(spark, tables.documents.uri, columns=["doc_id", "source", "bands", "run_id"])
    banded = banded_documents(documents, settings)
    shared = shared_bands(banded).persist()
    if not (n_shared := shared.count()):
        tables.comparisons.delete("true")
        return
    pairs = candidate_pairs(banded, shared, n_shared).persist()
    written = documents.where(F.col("run_id") == run_id).select("doc_id")
    known = _known(spark, tables).join(broadcast_few(pairs, pairs.count()), _PAIR, "left_semi")
    for side in _PAIR:
        known = known.join(written.toDF(side), side, "left_anti")
    known = known.select(*COMPARISONS.names).persist()
    fresh = pairs.join(known, _PAIR, "left_anti").persist()
    if not fresh.count() and known.count() == tables.comparisons.count():
        return
    ids = fresh.select(F.explode(F.array(*_PAIR)).alias("doc_id")).distinct()
    texts = read_lance_keys(spark, tables.documents.uri, ids, columns=["doc_id", "text"])
    replace_lance(known.unionByName(compared_pairs(fresh, texts, run_id)), tables.comparisons)


def _known(spark: SparkSession, tables: DocumentTables) -> DataFrame:
    return read_lance(spark, tables.comparisons.uri, where=None if tables.are_compared() else "false")
