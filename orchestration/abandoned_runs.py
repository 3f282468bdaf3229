"""Runs whose process is gone (killed, out of memory, power cut): without it they would seem to run for ever.

Dagster's own run monitoring can't see the processes that its default launcher starts, nor `forebay ingest`. So each
run notes the process that works on it, and whoever comes later on the same machine looks whether it still lives.
"""

import os
import socket

import dagster as dg
import psutil

__all__ = ["WORKER_TAG", "end_abandoned_runs", "this_worker"]

WORKER_TAG = "forebay/worker"
"""Run tag that names the process which executes the run."""

_CLOCK_S = 5.0


def this_worker() -> str:
    """Name this process so that no other one, on any machine, has the same name: machine, number, start."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{pid}/{psutil.Process(pid).create_time():.0f}"


def end_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs as failed whose process on this machine is gone; gives their ids.

    Runs of other machines, and those that name no process, are left alone.
    """
    in_progress = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    ended: list[str] = []
    for run in instance.get_runs(dg.RunsFilter(statuses=in_progress)):
        worker = run.tags.get(WORKER_TAG)
        if worker is not None and _is_gone(worker):
            instance.report_run_failed(run, f"the process that worked on this run ({worker}) is gone.")
            ended.append(run.run_id)
    return ended


def _is_gone(worker: str) -> bool:
    host, pid, started = worker.split("/")
    if host != socket.gethostname():
        return False
    try:
        # The same number with another start is another process.
        return abs(psutil.Process(int(pid)).create_time() - float(started)) > _CLOCK_S
    except psutil.NoSuchProcess:
        return True
