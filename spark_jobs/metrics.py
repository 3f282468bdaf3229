"""Counts over whole tables that the quality suites judge."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

__all__ = ["count_where", "duplicate_keys"]


def duplicate_keys(frame: DataFrame, key: str) -> int:
    """Count the keys that stand in more than one row."""
    return frame.groupBy(key).count().where("count > 1").count()


def count_where(condition: Column, name: str) -> Column:
    """Build an aggregate that counts the rows where a condition holds, for use in an `Observation`."""
    return F.count(F.when(condition, True)).alias(name)
