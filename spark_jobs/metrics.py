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
        changes: Columns `doc_id`, `change`: `new`, `changed`, `unchanged` or `deleted`; each document once.
    """
    gone = F.collect_list(F.when(F.col("change").isin("changed", "deleted"), F.col("doc_id")))
    rows = changes.groupBy("change").agg(F.count("*").alias("count"), gone.alias("gone")).collect()
    return Counter({row["change"]: row["count"] for row in rows}), [doc_id for row in rows for doc_id in row["gone"]]
