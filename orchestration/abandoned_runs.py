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


def this_worker(run_id: str) -> str:
    """Name this process as the one that works on a run: the run, and the process's machine, number and start.

    The run's id is there because a run that is tried again takes over the tags of the one before.
    """
    pid = os.getpid()
    return f"{run_id}/{socket.gethostname()}/{pid}/{psutil.Process(pid).create_time():.0f}"


def end_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs as failed whose process on this machine is gone; gives their ids.

    Runs of other machines, and those that name no process, are left alone.
    """
    in_progress = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    ended: list[str] = []
    for run in instance.get_runs(dg.RunsFilter(statuses=in_progress)):
        run_id, _, worker = run.tags.get(WORKER_TAG, "").partition("/")
        if run_id == run.run_id and _is_gone(worker):
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
