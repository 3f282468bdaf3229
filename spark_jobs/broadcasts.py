"""Frames that are sent whole to every executor, which saves shuffling what they are joined with.

Spark takes what Python reads for a few bytes, whatever it is, and would send all of it, through the driver. So it does
that with what it has measured itself (`spark_jobs.session`), and with what is said here to be few rows.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

__all__ = ["FEW_ROWS", "broadcast_few"]

FEW_ROWS = 100_000
"""Most rows of keys, or of a few short columns, that the driver and every executor hold. Decided, not measured."""


def broadcast_few(frame: DataFrame, at_most: int) -> DataFrame:
    """Have a side of a join sent whole to every executor, where it is few rows.

    Args:
        frame: Keys, or a few short columns.
        at_most: Rows that it can have.
    """
    return F.broadcast(frame) if at_most <= FEW_ROWS else frame
