"""How a session talks to its Python workers, and what large rows cost it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from tests.pipeline import ROOT

pytestmark = pytest.mark.integration

_PROGRAM = """
from forebay.settings import PathSettings, SparkSettings
from spark_jobs.session import spark_session

with spark_session("long", SparkSettings(), PathSettings()) as spark:
    print(spark.range(3).mapInArrow(lambda batches: batches, "id long").count())
"""

_LARGE_ROWS = """
import pyarrow as pa
from pyspark import StorageLevel
from forebay.settings import PathSettings, SparkSettings
from spark_jobs.session import spark_session

def sizes(batches):
    for batch in batches:
        yield pa.RecordBatch.from_pydict({"n_bytes": [batch.nbytes]})

with spark_session("large", SparkSettings(), PathSettings()) as spark:
    rows = spark.range(0, 500, numPartitions=1).selectExpr("repeat(uuid(), 30000) AS text")
    kept = rows.persist(StorageLevel.DISK_ONLY)
    print(kept.count(), kept.mapInArrow(sizes, "n_bytes long").agg({"n_bytes": "max"}).collect()[0][0])
"""


def test_workers_are_reached_through_sockets_that_nobody_else_may_open(spark):
    def connections(batches):
        for batch in batches:
            found = len(psutil.Process().net_connections("tcp"))
            yield pa.RecordBatch.from_pydict({"found": [found] * batch.num_rows})

    assert [row.found for row in spark.range(2).mapInArrow(connections, "found long").collect()] == [0, 0]
    folder = Path(spark.sparkContext.getConf().get("spark.python.unix.domain.socket.dir"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_temporary_folder_whose_name_is_too_long_for_sockets_is_no_obstacle(tmp_path):
    temporary = tmp_path / ("t" * 80)
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "FOREBAY_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-c", _PROGRAM]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.stdout.strip() == "3", ended.stderr[-2000:]
    assert not list(temporary.glob("forebay-*"))


def test_large_rows_are_kept_on_disk_and_handed_to_workers_a_few_at_a_time(tmp_path):
    # The rows are 540 MB in all.
    settings = {"FOREBAY_DATA": str(tmp_path / "data"), "FOREBAY_SPARK_DRIVER_MEMORY": "480m"}
    environment = {**os.environ, **settings}
    command = [sys.executable, "-c", _LARGE_ROWS]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.stdout, ended.stderr[-2000:]
    count, n_bytes = map(int, ended.stdout.split())
    assert count == 500
    assert n_bytes < 16e6
