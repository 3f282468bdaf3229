"""The one Spark session of a process, which its jobs use one after another."""

import importlib
import os
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache

import pyarrow as pa
from pyspark.sql import SparkSession

from forebay.settings import PathSettings, SparkSettings
from spark_jobs.class_archive import archive_file
from spark_jobs.warm_up import warm_up

__all__ = ["spark_session", "stop_session"]

# A short driver gains more from a quick start than from the second compiler (measured: 28 -> 15 JVM-CPU-s).
_QUICK_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.net.preferIPv4Stack=true"
# The heap follows what is alive in it, instead of growing to its limit; its first size otherwise follows the machine's
# memory.
_TIGHT_HEAP = "-Xms224m -XX:MinHeapFreeRatio=10 -XX:MaxHeapFreeRatio=25"
# What a task may sort in memory; a row, which may be a whole document, must fit.
_SORTED_BYTES = 32 * 2**20
# mallopt(3): few arenas, and what is freed goes back to the system, Arrow's buffers included. 200,000 documents: 430
# instead of 640 MB in five workers.
_MALLOC = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
# Longest that Spark takes: an address of a Unix domain socket has 108 bytes.
_SOCKETS_CHARS = 61


@contextmanager
def spark_session(
    name: str, settings: SparkSettings, paths: PathSettings, *, jvm_options: str = ""
) -> Generator[SparkSession]:
    """Give the process's session, started if it isn't there; frames that were persisted in it are dropped afterwards.

    Args:
        name: Name of the job; a session keeps that of its first one.
        settings: Master, memory, further configuration.
        paths: Where a local session keeps its scratch files.
        jvm_options: More options of a local driver's Java.
    """
    spark = SparkSession.getActiveSession() or _started(name, settings, paths, jvm_options)
    yield spark
    spark.catalog.clearCache()


def stop_session() -> None:
    """Stop the process's session, if there is one."""
    spark = SparkSession.getActiveSession()
    if spark is not None:
        spark.stop()


def _started(name: str, settings: SparkSettings, paths: PathSettings, jvm_options: str) -> SparkSession:
    # Workers otherwise run whatever `python3` is on the PATH.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # A worker keeps little more than it uses: otherwise it grows with the rows that have passed through it.
    for variable, value in _MALLOC.items():
        os.environ.setdefault(variable, value)
    if settings.master.startswith("local"):
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = (
        SparkSession.builder.appName(f"forebay {name}")
        .master(settings.master)
        .config("spark.driver.memory", settings.driver_memory)
        .config("spark.driver.bindAddress", "127.0.0.1" if settings.master.startswith("local") else "0.0.0.0")
        .config("spark.python.daemon.module", "spark_jobs.worker_daemon")
        .config("spark.ui.enabled", "false")
        # Of every query the plan would be formatted for it (a groupBy of 20,000 rows: 181 instead of 167 JVM-CPU-ms).
        .config("spark.sql.ui.explainMode", "simple")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "2048")
        # By default 64 MiB, which a task may hold several times.
        .config("spark.sql.execution.arrow.maxBytesPerBatch", "8m")
        # What is kept on disk goes there in batches of 4 MiB, and a stream of objects holds a hundred of them until it
        # is told to forget them.
        .config("spark.serializer.objectStreamReset", "1")
        # Only what is measured, or said to be few (`spark_jobs.broadcasts`): a guess would send whole tables.
        .config("spark.sql.autoBroadcastJoinThreshold", "-1")
        .config("spark.sql.adaptive.autoBroadcastJoinThreshold", "10MB")
        # It says where in Python each column of a query was named, which takes a third of the time of making one.
        .config("spark.python.sql.dataFrameDebugging.enabled", "false")
        # Embedding twice is dearer than waiting for a slow task.
        .config("spark.speculation", "false")
    )
    if settings.master.startswith("local"):
        builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.sql.shuffle.partitions", "4")
        # What doesn't fit goes to disk: no slower there, and memory doesn't grow with the corpus.
        builder = builder.config("spark.memory.fraction", "0.08").config("spark.memory.offHeap.enabled", "true")
        builder = builder.config("spark.memory.offHeap.size", str((os.cpu_count() or 1) * _SORTED_BYTES))
        # Executors elsewhere have a disk of their own.
        scratch = paths.data.absolute() / "spark"
        scratch.mkdir(parents=True, exist_ok=True)
        builder = builder.config("spark.local.dir", str(scratch))
        # Over TCP every task in Python waits 40 ms for an acknowledgement, which Nagle's algorithm asks for.
        sockets = _sockets().name
        if len(sockets) <= _SOCKETS_CHARS:
            builder = builder.config("spark.python.unix.domain.socket.enabled", "true")
            builder = builder.config("spark.python.unix.domain.socket.dir", sockets)
        archive = archive_file(paths.home.absolute())
        if archive is not None and archive.exists():
            jvm_options += f" -XX:SharedArchiveFile={archive} -Xlog:disable -Xlog:all=error:stderr"
        builder = builder.config("spark.driver.extraJavaOptions", f"{_QUICK_JVM} {_TIGHT_HEAP} {jvm_options}")
    for key, value in settings.conf.items():
        builder = builder.config(key, value)
    # Spark's start is mostly waiting for other processes.
    checks = threading.Thread(target=importlib.import_module, args=["great_expectations"])
    checks.start()
    spark = builder.getOrCreate()
    # Executors that are processes would be started for these queries, and kept for what they hold of them.
    queries = [threading.Thread(target=warm_up, args=[spark])] if settings.master.startswith("local[") else []
    for thread in queries:
        thread.start()
    # Waits for what workers are forked from, so that what follows is work and no start-up; in one task, beside which
    # the others have a core.
    spark.range(0, 1, numPartitions=1).mapInArrow(_unchanged, "id long").count()
    for thread in [*queries, checks]:
        thread.join()
    return spark


@cache
def _sockets() -> "tempfile.TemporaryDirectory[str]":
    """Make the folder of the process's sockets: nobody else may enter it, and it goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="forebay-")


def _unchanged(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    return batches
