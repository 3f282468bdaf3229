"""Changes of documents, and counts over whole tables that the quality suites judge."""

from collections import Counter

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from forebay.tables import Table
from spark_jobs.lance_frames import delete_lance_keys

__all__ = ["count_where", "counted_changes", "delete_outdated", "duplicate_keys"]


def duplicate_keys(frame: DataFrame, key: str) -> int:
    """Count the keys that stand in more than one row."""
    return frame.groupBy(key).count().where("count > 1").count()


def count_where(condition: Column, name: str) -> Column:
    """Build an aggregate that counts the rows where a condition holds, for use in an `Observation`."""
    return F.count(F.when(condition, True)).alias(name)


def counted_changes(changes: DataFrame) -> Counter[str]:
    """Count documents by change.

    Args:
        changes: Column `change`: `new`, `changed`, `unchanged` or `deleted`; each document once.
    """
    return Counter({row["change"]: int(row["count"]) for row in changes.groupBy("change").count().collect()})


def delete_outdated(changes: DataFrame, counts: Counter[str], table: Table) -> None:
    """Delete the rows of documents that have changed or are gone.

    Args:
        changes: Columns `doc_id`, `change`, as `counted_changes` takes them; best persisted.
        counts: What it gave.
        table: Has a column `doc_id`.
    """
    outdated = changes.where("change IN ('changed', 'deleted')").select("doc_id")
    delete_lance_keys(outdated, counts["changed"] + counts["deleted"], table)
