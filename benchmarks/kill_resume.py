"""SIGKILL at random moments of a run, then resume: the tables and the release must be those of an undisturbed run."""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import ROOT, SAMPLE, ingest, report
from forebay.documents import content_hash
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings
from forebay.tables import chunk_table, comparison_table, document_table, duplicate_table, embedding_table

_VICTIMS = ("java", "worker", "job", "run")
"""The JVM, a Python worker, the driver of the Spark jobs, Dagster's run."""


def _write_source(folder: Path, n_documents: int, *, changed: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in (SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()[:n_documents]]
    for number, row in enumerate(rows):
        path = folder / f"{row['_id']}.txt"
        if changed and number % 10 == 0:
            path.unlink(missing_ok=True)
        elif changed and number % 3 == 0:
            path.write_text(f"A changed version of it: {row['text']}", "utf-8")
        else:
            path.write_text(row["text"] or row["_id"], "utf-8")


def _state(paths: PathSettings) -> dict[str, str]:
    """Hash what every published table holds, the ids of the runs that wrote it left out."""
    manifest = ReleaseRegistry(paths.releases).current()
    assert manifest is not None
    folder = paths.tables
    tables = {
        "documents": document_table(folder),
        "comparisons": comparison_table(folder),
        "duplicates": duplicate_table(folder),
        "chunks": chunk_table(folder),
        "embeddings": embedding_table(folder, manifest.embedding),
    }
    state = {"release": manifest.release_id, "shards": str(sum(ref.chunks for ref in manifest.shards))}
    for name, table in tables.items():
        published = table.published()
        assert published is not None
        columns = [column for column in published.schema.names if column not in ("run_id", "vector")]
        rows = sorted(json.dumps(row, default=str) for row in published.to_table(columns=columns).to_pylist())
        state[name] = content_hash(*rows)
    return state


def _kill_at(source: Path, paths: PathSettings, delay_s: float, victim: str) -> str:
    """Start a run and kill one of its processes after a while; gives what was killed."""
    command = [sys.executable, "-m", "orchestration.run", "--source", str(source)]
    environment = {**os.environ, "FOREBAY_DATA": str(paths.data)}
    run = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(delay_s)
    killed = "nothing (over)"
    for process in _matching(run.pid, victim):
        process.send_signal(signal.SIGKILL)
        killed = victim
        break
    if victim == "run":
        # What the run leaves behind must not disturb the next one.
        run.wait()
    else:
        run.wait(600)
    return killed


def _matching(pid: int, victim: str) -> list[psutil.Process]:
    try:
        run = psutil.Process(pid)
        if victim == "run":
            return [run]
        below = run.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    found: list[psutil.Process] = []
    for process in below:
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        kinds = {
            "java": "java" in line and "pyspark" in line,
            "worker": "worker_daemon" in line,
            "job": "job_process" in line,
        }
        if kinds[victim]:
            found.append(process)
    # The last of the daemons is one that was forked: a worker.
    return found[::-1] or [run]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    chosen = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name:
        source, before = Path(name) / "source", PathSettings(data=Path(name) / "before")
        _write_source(source, options.documents, changed=False)
        ingest(source, before.data)
        _write_source(source, options.documents, changed=True)
        expected_paths = PathSettings(data=Path(name) / "expected")
        shutil.copytree(before.data, expected_paths.data)
        began = time.monotonic()
        ingest(source, expected_paths.data)
        whole_s = time.monotonic() - began
        expected = _state(expected_paths)
        same = 0
        for number in range(options.kills):
            paths = PathSettings(data=Path(name) / f"killed-{number}")
            shutil.copytree(before.data, paths.data)
            delay_s, victim = chosen.uniform(0.05, 0.95) * whole_s, _VICTIMS[number % len(_VICTIMS)]
            killed = _kill_at(source, paths, delay_s, victim)
            ingest(source, paths.data)
            found = _state(paths)
            same += found == expected
            different = [key for key in expected if found[key] != expected[key]]
            print(f"{number + 1}: killed {killed} after {delay_s:.1f} s: {different or 'the same'}", flush=True)
            shutil.rmtree(paths.data)
    report({"kills": options.kills, "same": same, "documents": options.documents, "run_s": round(whole_s, 1)})


if __name__ == "__main__":
    main()
