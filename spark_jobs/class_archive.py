"""The archive of Java classes that makes Spark start quicker: `python -m spark_jobs.class_archive`, part of setup.

Class data sharing (JEP 350) maps the classes that a session needs instead of loading 20,000 of them from jars. It
belongs to one Java and one Spark; with another one Java ignores it.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyspark

from forebay.documents import content_hash
from forebay.java import find_java
from forebay.settings import PathSettings, SparkSettings

__all__ = ["archive_file", "main"]

_EXIT_TIMEOUT_S = 120


def archive_file(home: Path) -> Path | None:
    """Name the archive for this machine's Java and Spark; None where there is no Java."""
    java = find_java()
    if java is None:
        return None
    program = java.path.resolve()
    status = program.stat()
    identity = content_hash(str(program), str(status.st_size), str(status.st_mtime_ns), pyspark.__version__)
    return home / "jvm" / f"spark-{identity[:12]}.jsa"


def main() -> int:
    """Make the archive, where it isn't there yet."""
    paths = PathSettings()
    archive = archive_file(paths.home.absolute())
    if archive is None or archive.exists():
        return 0
    print("Preparing a quicker start of Spark (about 30 s) ...", flush=True)  # noqa: T201 - a command
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        made = Path(folder) / "classes.jsa"
        # Without its warnings of hundreds of classes that can't be in an archive.
        options = f"-XX:ArchiveClassesAtExit={made} -Xlog:disable -Xlog:all=error:stderr"
        _run_session(PathSettings(home=paths.home, data=Path(folder)), options)
        if made.exists():
            os.replace(made, archive)
    return 0


def _run_session(paths: PathSettings, option: str) -> None:
    """Do what jobs do, so that the classes of a job are in the archive."""
    from pyspark import SparkContext
    from pyspark.sql import functions as F

    from spark_jobs.session import spark_session, stop_session

    with spark_session("class_archive", SparkSettings(master="local[2]"), paths, jvm_options=option) as spark:
        frame = spark.range(1000).selectExpr("id", "id % 7 AS kind", "cast(id AS string) AS name")
        kinds = frame.groupBy("kind").agg(F.count("*").alias("n"), F.collect_list("name").alias("names"))
        joined = frame.mapInArrow(lambda batches: batches, frame.schema).join(F.broadcast(kinds), "kind").persist()
        joined.join(frame.limit(5).select("id"), "id", "left_anti").repartition(4).sortWithinPartitions("id").collect()
        joined.withColumn("hash", F.md5(F.to_json(F.struct("id", "name")))).dropDuplicates(["hash"]).count()
    stop_session()
    # Java writes the archive as it ends, which it does when its standard input closes.
    gateway: Any = vars(SparkContext)["_gateway"]
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(_EXIT_TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main())
