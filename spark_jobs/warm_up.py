"""Small queries with what the jobs' own are made of: most of it Java loads, and compiles, the first time it is used.

A session runs them while its Python workers start, which is waiting; its archive of classes is made by them, too.
"""

import pyarrow as pa
from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F

__all__ = ["warm_up"]


def warm_up(spark: SparkSession) -> None:
    """Run them; they leave nothing behind."""
    rows = spark.range(4).select(F.col("id").cast("string").alias("key"), F.xxhash64("id").alias("hash"))
    some = F.broadcast(spark.createDataFrame(pa.table({"key": ["0", "1"]})).withColumn("is_some", F.lit(True)))
    marked = rows.join(some, "key", "left").select("key", "hash", F.isnull("is_some").alias("is_other")).persist()
    numbered = marked.withColumn("place", F.row_number().over(Window.partitionBy("key").orderBy("hash")))
    new = numbered.where("place = 1").select("key", F.col("hash").alias("new"))
    old = marked.where("is_other").select("key", F.col("hash").alias("old"))
    change = F.when(F.col("old").isNull(), "new").otherwise("unchanged")
    changes = new.join(old, "key", "full_outer").select("key", change.alias("change")).persist()
    changes.groupBy("change").count().collect()
    new_keys = changes.where("change = 'new'").select("key")
    rows.join(F.broadcast(new_keys), "key", "left_semi").collect()
    marked.unpersist()
    changes.unpersist()
