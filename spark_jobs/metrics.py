"""Counts over whole tables: of changes, and those that the quality suites judge."""

from collections import Counter

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

__all__ = ["count_where", "counted_changes", "duplicate_keys"]


def duplicate_keys(frame: DataFrame, key: str) -> int:
    """Count the keys that stand in more than one row."""
    return frame.groupBy(key).count().where("count > 1").count()


def count_where(condition: Column, name: str) -> Column:
    """Build an aggregate that counts the rows where a condition holds, for use in an `Observation`."""
    return F.count(F.when(condition, True)).alias(name)


def counted_changes(changes: DataFrame) -> tuple[Counter[str], list[str]]:
    """Count documents by change, and give the ids of those whose rows have to go.

    Args:
        changes: Columns `doc_id`, `change`: `new`, `changed`, `unchanged` or `deleted`; each document once; best
            persisted, because it is read twice.
    """
    counts = Counter({row["change"]: int(row["count"]) for row in changes.groupBy("change").count().collect()})
    # A query of its own: gathered beside the counts, the ids of a whole corpus would have to fit into one row.
    gone = changes.where("change IN ('changed', 'deleted')").select("doc_id").collect()
    return counts, [row["doc_id"] for row in gone]
