"""Bring the document tables up to date with the sources, check them, publish them."""

from pyspark.sql import SparkSession

from forebay.errors import ConfigurationError, QualityError
from forebay.settings import CorpusSettings, DuplicateSettings, PathSettings, SparkSettings
from forebay.sources.contract import Changes, Source
from forebay.sources.registry import open_source
from quality.suites.documents import DOCUMENT_CHECKS, check_documents
from quality.validate import CheckOutcome
from spark_jobs.lance_frames import read_lance
from spark_jobs.metrics import duplicate_keys
from spark_jobs.parse_documents.comparisons import compare_documents
from spark_jobs.parse_documents.duplicates import duplicates_of
from spark_jobs.parse_documents.ingestion import Ingestion, SourceCounts
from spark_jobs.parse_documents.reading import ReadingPlan, parser_fingerprint, plan_reading
from spark_jobs.parse_documents.tables import DocumentTables
from spark_jobs.pipes import JobOrders, Reporter, run_job
from spark_jobs.progress import told_progress
from spark_jobs.session import spark_session
from spark_jobs.side_by_side import side_by_side

__all__ = ["ingest"]


def ingest(orders: JobOrders, report: Reporter) -> None:
    """Ingest the sources; see the module."""
    paths, corpus, duplicates = PathSettings(), CorpusSettings(), DuplicateSettings()
    tables = DocumentTables.prepare(paths.tables, orders.run_id)
    parser = parser_fingerprint(corpus)
    work = [(source, *_planned(source, tables, parser, report)) for source in map(open_source, orders.sources)]
    counts = {source.name: SourceCounts.idle(tables, source.name) for source, _, _ in work}
    has_documents = all(counts[source.name].accepted for source, changes, _ in work if changes.is_snapshot)
    # An empty source has to fail its check, however little there is to do.
    if all(plan.is_idle for _, _, plan in work) and tables.are_deduplicated(duplicates) and has_documents:
        report.unchanged(tables.documents, DOCUMENT_CHECKS, **_details(tables, orders, counts))
        return
    with spark_session("parse_documents", SparkSettings(), paths) as spark, told_progress(spark, report.progress):
        report.started()
        tables.begin()
        ingestion = Ingestion(spark, tables, orders, corpus, parser)
        counts = {source.name: ingestion.write(source, plan, changes) for source, changes, plan in work}
        for name, count in counts.items():
            report.progress(f"{name}: {count}")
        # A stream must go on whatever it brings; its rejects are dead letters.
        judged = [counts[source.name] for source, changes, _ in work if changes.is_snapshot]
        n_duplicates, outcomes = side_by_side(
            lambda: _deduplicate(spark, tables, duplicates, orders),
            lambda: _check(spark, tables, judged, orders, corpus, paths),
        )
        told = ", ".join(f"{count} {name}" for name, count in _summed(counts).items())
        report.progress(f"{told}, {n_duplicates} duplicates")
        report.checks(outcomes)
        # The rejects explain a failure, so they are shown whatever the checks say.
        tables.quarantine.publish()
        report.materialization(tables.documents, changed=_summed(counts), **_details(tables, orders, counts))
        if gone := [source.name for source, changes, _ in work if changes.is_snapshot and ingestion.has_lost(source)]:
            tables.restore()
            raise ConfigurationError(
                f"the source {gone[0]!r} went away while it was read, so the document table stays as it was; see that "
                "it stays (is it mounted?), and run again."
            )
        if not all(outcome.passed for outcome in outcomes):
            tables.restore()
            raise QualityError("the documents failed a blocking check; the document table stays as it was.")
        tables.publish(duplicates)
        for source, changes, plan in work:
            ingestion.settle(source, plan, changes)


def _planned(source: Source, tables: DocumentTables, parser: str, report: Reporter) -> tuple[Changes, ReadingPlan]:
    changes = source.changes()
    plan = plan_reading(changes, tables.units, source.name, parser)
    report.progress(f"{source.name}: {len(plan.units)} of {len(changes.units)} units to read, {len(plan.gone)} gone")
    return changes, plan


def _deduplicate(spark: SparkSession, tables: DocumentTables, settings: DuplicateSettings, orders: JobOrders) -> int:
    alike = "false"
    if settings.scope != "off":
        compare_documents(spark, tables, settings, orders.run_id)
        alike = f"similarity >= {settings.threshold}"
    columns = ["one", "other", "similarity", "is_exact"]
    found = duplicates_of(tables.comparisons.newest().to_table(columns=columns, filter=alike), orders.run_id)
    tables.replace_duplicates(found)
    return found.num_rows


def _check(
    spark: SparkSession,
    tables: DocumentTables,
    judged: list[SourceCounts],
    orders: JobOrders,
    corpus: CorpusSettings,
    paths: PathSettings,
) -> list[CheckOutcome]:
    return check_documents(
        tables.documents,
        accepted=sum(count.accepted for count in judged),
        rejected=sum(count.rejected for count in judged),
        empty_sources=sum(not count.accepted for count in judged),
        duplicate_ids=duplicate_keys(read_lance(spark, tables.documents.uri, columns=["doc_id"]), "doc_id"),
        run_id=orders.run_id,
        max_rejected_share=corpus.max_rejected_share,
        docs=paths.quality,
    )


def _summed(counts: dict[str, SourceCounts]) -> dict[str, int]:
    return {name: sum(count.by_name()[name] for count in counts.values()) for name in SourceCounts.NAMES}


def _details(tables: DocumentTables, orders: JobOrders, counts: dict[str, SourceCounts]) -> dict[str, object]:
    return {
        "by_source": {name: count.by_name() for name, count in counts.items()},
        "duplicates": tables.duplicate_counts(),
    }


if __name__ == "__main__":
    run_job(ingest)
