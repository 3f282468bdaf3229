"""Write what one source's units hold into the tables."""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.settings import CorpusSettings
from forebay.sources.contract import Changes, Rejected, Source
from forebay.tables import sql_text
from spark_jobs.broadcasts import broadcast_few
from spark_jobs.lance_frames import append_lance, read_lance
from spark_jobs.metrics import counted_changes, delete_outdated
from spark_jobs.parse_documents.reading import RETRIED, ReadingPlan, record_units
from spark_jobs.parse_documents.tables import DocumentTables
from spark_jobs.parse_documents.transforms import (
    changes,
    documents_of,
    latest_of_each,
    parsed_rows,
    rejects_of,
    unread_units,
    without_documents_of,
    without_duplicate_ids,
)
from spark_jobs.pipes import JobOrders
from spark_jobs.side_by_side import side_by_side

__all__ = ["Ingestion", "SourceCounts"]


@dataclass(frozen=True)
class SourceCounts:
    """What a run found in one source."""

    new: int
    changed: int
    unchanged: int
    deleted: int
    rejected: int

    NAMES: ClassVar = ("new", "changed", "unchanged", "deleted", "rejected")

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.by_name().items())

    @property
    def accepted(self) -> int:
        """Documents that the source has now."""
        return self.new + self.changed + self.unchanged

    def by_name(self) -> dict[str, int]:
        """Give the counts by `NAMES`."""
        return {name: getattr(self, name) for name in self.NAMES}

    @classmethod
    def idle(cls, tables: DocumentTables, source: str) -> "SourceCounts":
        """Count a source of which nothing was read."""
        where = f"source = {sql_text(source)}"
        return cls(0, 0, tables.documents.count(where), 0, tables.quarantine.count(where))


class Ingestion:
    """Reads units with Spark and brings the rows of their source up to date."""

    def __init__(
        self, spark: SparkSession, tables: DocumentTables, orders: JobOrders, corpus: CorpusSettings, parser: str
    ) -> None:
        self._spark = spark
        self._tables = tables
        self._orders = orders
        self._corpus = corpus
        self._parser = parser

    def write(self, source: Source, plan: ReadingPlan, listing: Changes) -> SourceCounts:
        """Write a source's documents and rejects, not yet published."""
        idle = SourceCounts.idle(self._tables, source.name)
        if plan.is_idle:
            return idle
        n_documents = self._tables.documents.count()
        around = self._documents_around(source.name, plan.kept).persist()
        parsed = parsed_rows(self._spark, source, plan.units, self._corpus)
        resolve = without_duplicate_ids if listing.is_snapshot else latest_of_each
        # On disk: texts would fill the memory of a driver that has many.
        taken = broadcast_few(around.where("NOT is_replaced"), n_documents)
        read = resolve(parsed, taken).persist(StorageLevel.DISK_ONLY)
        resolved, replaced = read, around.where("is_replaced")
        if listing.is_snapshot and (unread := unread_units(read)):
            # As if nothing had changed there: what was read of it may be half of what it is.
            kept = self._documents_around(source.name, plan.kept_and(unread))
            taken = broadcast_few(kept.where("NOT is_replaced"), n_documents)
            resolved = resolve(without_documents_of(read, unread), taken)
            replaced = kept.where("is_replaced")
        counts = self._write_rows(resolved, replaced, source.name, plan, listing)
        read.unpersist()
        around.unpersist()
        left = idle.unchanged - counts["changed"] - counts["deleted"]
        where = f"source = {sql_text(source.name)}"
        # Those of a stream are in its dead-letter topic: only the run's own ones count.
        mine = "true" if listing.is_snapshot else f"run_id = {sql_text(self._orders.run_id)}"
        rejected = self._tables.quarantine.count(f"{where} AND {mine}")
        return SourceCounts(counts["new"], counts["changed"], left, counts["deleted"], rejected)

    def has_lost(self, source: Source) -> bool:
        """Say whether the source went away since it was listed; only asked of it if the run couldn't read something.

        What is left of it would pass for all that it has.
        """
        if not self._tables.quarantine.count(
            f"{self._own_rejects(source)} AND reason = {sql_text(RejectionReason.UNREADABLE)}"
        ):
            return False
        try:
            return not source.changes().units
        except ConfigurationError:
            return True

    def settle(self, source: Source, plan: ReadingPlan, listing: Changes) -> None:
        """Note that the source's units are in the published tables."""
        rejects = self._tables.quarantine.published_where(self._own_rejects(source))
        if listing.is_snapshot and self._orders.is_full and not plan.is_idle:
            again = {row["unit"] for row in rejects if row["reason"] in RETRIED}
            record_units(self._tables.units, plan, again, source=source.name, parser=self._parser)
        if self._orders.is_full:
            source.acknowledge(listing, [_rejected(row) for row in rejects])

    def _own_rejects(self, source: Source) -> str:
        return f"source = {sql_text(source.name)} AND run_id = {sql_text(self._orders.run_id)}"

    def _documents_around(self, source: str, kept_units: pa.ChunkedArray) -> DataFrame:
        """Read the keys of the table, and say of each document whether this run's units replace it (`is_replaced`)."""
        keys = self._read(["doc_id", "content_hash", "source", "uri"])
        is_ours = F.col("source") == source
        if not len(kept_units):
            return keys.select("doc_id", "content_hash", is_ours.alias("is_replaced"))
        kept = self._spark.createDataFrame(pa.table({"uri": kept_units})).withColumn("_is_kept", F.lit(True))
        marked = keys.join(broadcast_few(kept, len(kept_units)), "uri", "left")
        return marked.select("doc_id", "content_hash", (is_ours & F.isnull("_is_kept")).alias("is_replaced"))

    def _read(self, columns: list[str]) -> DataFrame:
        return read_lance(self._spark, self._tables.documents.uri, columns=columns, where=self._orders.where)

    def _write_rows(
        self, parsed: DataFrame, replaced: DataFrame, source: str, plan: ReadingPlan, listing: Changes
    ) -> dict[str, int]:
        """Write documents and rejects; gives the number of documents by change."""
        accepted = documents_of(parsed, source, self._orders.run_id, self._orders.n_shards)
        if self._orders.where:
            accepted = accepted.where(self._orders.where)
        words = parsed.where("reason IS NULL").select("doc_id", "content_hash")
        if listing.is_snapshot:
            words = accepted.select("doc_id", "content_hash")
        else:
            replaced = replaced.join(broadcast_few(words.select("doc_id"), words.count()), "doc_id", "left_semi")
        diff = changes(words, replaced).persist()
        counts = counted_changes(diff)
        n_wanted = counts["new"] + counts["changed"]
        wanted = broadcast_few(diff.where("change IN ('new', 'changed')").select("doc_id"), n_wanted)
        added = accepted.join(wanted, "doc_id", "left_semi") if n_wanted else None
        side_by_side(
            lambda: self._write_documents(diff, counts, added),
            lambda: self._write_rejects(parsed, plan, source, listing),
        )
        diff.unpersist()
        return counts

    def _write_documents(self, diff: DataFrame, counts: Counter[str], added: DataFrame | None) -> None:
        delete_outdated(diff, counts, self._tables.documents)
        if added is not None:
            append_lance(added, self._tables.documents)

    def _write_rejects(self, parsed: DataFrame, plan: ReadingPlan, source: str, listing: Changes) -> None:
        """Replace the rejects of the units that were read or are gone, or of the messages that were read again."""
        where = f"source = {sql_text(source)}"
        rejects = rejects_of(parsed, source, self._orders.run_id)
        if listing.is_snapshot:
            self._tables.quarantine.delete_keys("unit", plan.outdated, where=where)
        else:
            places = [row["uri"] for row in rejects.select("uri").collect()]
            self._tables.quarantine.delete_keys("uri", places, where=where)
        append_lance(rejects, self._tables.quarantine)


def _rejected(row: dict[str, str]) -> Rejected:
    return Rejected(row["uri"], 0, RejectionReason(row["reason"]), row["detail"], row["doc_id"])
