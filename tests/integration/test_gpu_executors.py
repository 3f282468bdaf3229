"""Tasks that embed get executors with a GPU: on a real little Spark cluster, whose GPU is only said to be there."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from tests.pipeline import ROOT

_PROGRAM = """
import json, os
from forebay.settings import PathSettings, SparkSettings
from spark_jobs.gpu_executors import gpu_profile, take_own_gpu
from spark_jobs.session import spark_session

def seen(batches):
    import pyarrow as pa
    from pyspark import TaskContext
    take_own_gpu()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    for batch in batches:
        yield pa.RecordBatch.from_pydict({"visible": [visible] * batch.num_rows})

settings = SparkSettings()
with spark_session("gpus", settings, PathSettings()) as spark:
    rows = spark.range(0, 4, numPartitions=4)
    with_gpu = rows.mapInArrow(seen, "visible string", profile=gpu_profile(settings)).collect()
    without = rows.mapInArrow(seen, "visible string").collect()
print(json.dumps([sorted({row.visible for row in found}) for found in (with_gpu, without)]))
"""


@pytest.fixture
def discovery(tmp_path):
    script = tmp_path / "gpus.sh"
    script.write_text("""#!/bin/sh\necho '{"name": "gpu", "addresses": ["3"]}'\n""")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


@pytest.fixture(autouse=True)
def _no_work_left():
    yield
    # Where Spark's own workers write, whatever the session's settings say.
    shutil.rmtree(Path(pyspark.__file__).parent / "work", ignore_errors=True)


def test_only_tasks_that_embed_get_a_gpu(tmp_path, discovery):
    # Three places: if the session's start took them all, none would be left for the one with the GPU.
    conf = {
        "spark.worker.resource.gpu.amount": "1",
        "spark.worker.resource.gpu.discoveryScript": str(discovery),
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.executorIdleTimeout": "1s",
        "spark.executor.cores": "1",
        "spark.executor.memory": "512m",
    }
    environment = {
        **os.environ,
        "FOREBAY_DATA": str(tmp_path / "data"),
        "FOREBAY_SPARK_MASTER": "local-cluster[1,3,4096]",
        "FOREBAY_SPARK_CONF": json.dumps(conf),
        "FOREBAY_SPARK_GPUS_PER_EMBEDDING_TASK": "0.5",
        "FOREBAY_SPARK_GPU_DISCOVERY_SCRIPT": str(discovery),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [["3"], [""]]
