"""Runs assets in a process of their own and watches its memory and that of everything below it."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import ROOT

__all__ = ["WatchedRun", "run_assets"]

_SAMPLE_S = 1.0
_PROGRAM = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
names, sources, target = json.loads(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
from forebay.dagster_home import prepare_dagster_home
from forebay.settings import PathSettings
os.environ["DAGSTER_HOME"] = str(prepare_dagster_home(PathSettings()))
import dagster as dg
from orchestration.definitions import defs
from orchestration.defs.automation import ALL_SHARDS
chosen = dg.AssetSelection.assets(*names)
job = dg.define_asset_job("benchmark_job", selection=chosen, executor_def=dg.in_process_executor)
resolved = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("benchmark_job")
configured = [name for name in ("documents", "golden_questions") if name in names]
config = {"ops": {name: {"config": {"sources": sources}} for name in configured}}
with dg.DagsterInstance.get() as instance:
    result = resolved.execute_in_process(instance=instance, tags=ALL_SHARDS, run_config=config, raise_on_error=False)
figures = {}
for event in result.get_asset_materialization_events():
    metadata = event.materialization.metadata
    figures[event.asset_key.to_user_string()] = {
        name: value.value for name, value in metadata.items() if isinstance(value.value, (int, float, str, dict))
    }
with open(target, "w") as stream:
    json.dump(figures, stream)
sys.exit(0 if result.success else 1)
"""


@dataclass(frozen=True)
class WatchedRun:
    """What a run took."""

    seconds: float
    """From its start to its end, all start-ups included."""
    peak_bytes: int
    """Largest proportional set size of the job's processes (driver, JVM, Python workers), Dagster's own left out."""
    assets: dict[str, dict[str, Any]]
    """What each asset reported."""

    @property
    def startup_s(self) -> float:
        """Seconds that the processes took to start: Dagster's own, and the jobs' until their session was there."""
        reported = sum(figures.get("seconds", 0.0) for figures in self.assets.values())
        startups = sum(figures.get("seconds_of_startup", 0.0) for figures in self.assets.values())
        return self.seconds - reported + startups


def run_assets(names: list[str], sources: list[str], data: Path, **environment: str) -> WatchedRun:
    """Materialize assets over all shards.

    Raises:
        SystemExit: the run failed; its output was printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.json"
        log = Path(folder) / "log"
        command = [sys.executable, "-c", _PROGRAM, json.dumps(names), json.dumps(sources), str(target)]
        began = time.monotonic()
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "FOREBAY_DATA": str(data), **environment},
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
            watcher = _MemoryWatcher(process.pid)
            watcher.start()
            status = process.wait()
        seconds = time.monotonic() - began
        watcher.stop()
        if status:
            raise SystemExit(log.read_text("utf-8", "replace")[-8000:])
        return WatchedRun(seconds, watcher.peak_bytes, json.loads(target.read_text("utf-8")))


class _MemoryWatcher(threading.Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self.peak_bytes = 0

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            self.peak_bytes = max(self.peak_bytes, self._sample())

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _sample(self) -> int:
        total = 0
        try:
            processes = psutil.Process(self._pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return 0
        for process in processes:
            try:
                # Proportional: pages that forked workers share count once.
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
        return total
