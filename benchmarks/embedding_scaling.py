"""`make bench-embed-scaling`: workers and threads against each other, and what more executors would bring.

Every way of dividing the cores embeds the same chunks through Spark, in turns and each in a process of its own. From
the rate of one worker, what a task and a worker's start cost, and how two workers disturb each other, a model gives the
hours of a large corpus on 8 to 64 executors: see `embedding_hours`.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pyarrow as pa

from benchmarks.machine import ROOT, report
from benchmarks.real_chunks import real_chunks
from forebay.embedding.choice import resolve_spec
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings, SparkSettings
from spark_jobs.embed_chunks.main import MAX_GROUPS
from spark_jobs.embed_chunks.transforms import vectors_of
from spark_jobs.session import spark_session, stop_session

_CHUNKS = 1024
_EMPTY_TASKS = 200
_WAYS = ((1, 1), (2, 1), (1, 2))
_CORPUS_CHUNKS = 100_000_000
_EXECUTORS = (8, 16, 32, 64)
_EXECUTOR_CORES = 4


def embedding_hours(
    executors: int, *, texts_per_s: float, efficiency: float, task_s: float, start_s: float, chunks: int
) -> float:
    """Give the hours that embedding takes.

    Texts are embedded in groups, each a task per core: hours = start + groups x (task + texts of a task / rate).

    Args:
        executors: Executors of 4 cores.
        texts_per_s: Rate of one worker alone.
        efficiency: A worker's rate while the others work, as a share of its rate alone.
        task_s: Seconds that a task takes beside its texts.
        start_s: Seconds until a worker's first text: its libraries and its model.
        chunks: Texts to embed.
    """
    cores = executors * _EXECUTOR_CORES
    groups = min(math.ceil(chunks / EmbeddingSettings().commit_rows), MAX_GROUPS)
    of_task = math.ceil(chunks / groups / cores)
    return (start_s + groups * (task_s + of_task / (texts_per_s * efficiency))) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="times that each way embeds all chunks")
    parser.add_argument("--way", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(_measured(*arguments.way)))
        return
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(1, arguments.rounds + 1):
        rounds.append({_name(*way): _in_process(*way) for way in _WAYS})
        rates = ", ".join(f"{name} {found['texts_per_s']:.1f} texts/s" for name, found in rounds[-1].items())
        print(f"round {number}: {rates}", flush=True)
    alone = [found[_name(1, 1)] for found in rounds]
    rate = statistics.median(found["texts_per_s"] for found in alone)
    scaling = statistics.median(
        found[_name(2, 1)]["texts_per_s"] / found[_name(1, 1)]["texts_per_s"] for found in rounds
    )
    costs = {name: statistics.median(found[name] for found in alone) for name in ("task_s", "start_s")}
    hours = {
        executors: embedding_hours(executors, texts_per_s=rate, efficiency=scaling / 2, chunks=_CORPUS_CHUNKS, **costs)
        for executors in _EXECUTORS
    }
    ideal = hours[_EXECUTORS[0]] * _EXECUTORS[0]
    report(
        {
            "texts_per_s": {
                _name(*way): round(statistics.median(found[_name(*way)]["texts_per_s"] for found in rounds), 1)
                for way in _WAYS
            },
            "scaling_1_to_2_workers": round(scaling, 3),
            "task_overhead_ms": round(1000 * costs["task_s"], 1),
            "worker_start_s": round(costs["start_s"], 2),
            "modelled_chunks": _CORPUS_CHUNKS,
            "modelled_hours": {executors: round(value, 2) for executors, value in hours.items()},
            "modelled_efficiency": {
                executors: round(ideal / (value * executors), 3) for executors, value in hours.items()
            },
        }
    )


def _name(workers: int, threads: int) -> str:
    return f"{workers} x {threads}"


def _in_process(workers: int, threads: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--way", str(workers), str(threads)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measured(workers: int, threads: int) -> dict[str, float]:
    paths, settings = PathSettings(), EmbeddingSettings()
    rows = real_chunks(model_folder(settings.model, paths.models), _CHUNKS)
    conf = {"spark.task.cpus": str(threads)}
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as data:
        scratch = PathSettings(data=Path(data))
        spec = resolve_spec(settings, scratch)
        cores = SparkSettings(master=f"local[{workers * threads}]", conf=conf)
        with spark_session("embedding scaling", cores, scratch) as spark:
            frame = spark.createDataFrame(rows, "text_hash string, title string, heading_path string, text string")
            frame.persist().count()

            def embed(n_rows: int) -> float:
                vectors = vectors_of(
                    frame.limit(n_rows) if n_rows < _CHUNKS else frame,
                    spec,
                    paths.models,
                    tasks=workers,
                    batch_tokens=settings.batch_tokens,
                    run_id="bench",
                )
                began = time.perf_counter()
                vectors.write.format("noop").mode("overwrite").save()
                return time.perf_counter() - began

            start_s = embed(workers)
            start_s -= embed(workers)
            seconds = embed(_CHUNKS)
            began = time.perf_counter()
            spark.range(_EMPTY_TASKS, numPartitions=_EMPTY_TASKS).mapInArrow(_unchanged, "id long").count()
            task_s = (time.perf_counter() - began) * workers / _EMPTY_TASKS
        stop_session()
    return {"texts_per_s": _CHUNKS / seconds, "task_s": task_s, "start_s": start_s}


def _unchanged(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    return batches


if __name__ == "__main__":
    main()
