import socket
import subprocess
import sys

import dagster as dg
import psutil
import pytest

from orchestration.abandoned_runs import WORKER_TAG, end_abandoned_runs, this_worker


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def started(instance, worker, status=dg.DagsterRunStatus.STARTED):
    tags = {} if worker is None else {WORKER_TAG: worker}

    @dg.job(name="some_job")
    def some_job():
        pass

    return instance.create_run_for_job(some_job, status=status, tags=tags).run_id


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    worker = f"{socket.gethostname()}/{process.pid}/{psutil.Process(process.pid).create_time():.0f}"
    process.wait()
    return worker


def test_a_run_whose_process_is_gone_has_failed(instance):
    run_id = started(instance, ended_process())
    assert end_abandoned_runs(instance) == [run_id]
    assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.FAILURE
    assert end_abandoned_runs(instance) == []


def test_another_process_with_the_same_number_is_not_the_runs(instance):
    host, pid, _ = this_worker().split("/")
    assert end_abandoned_runs(instance) == []
    run_id = started(instance, f"{host}/{pid}/1000000000")
    assert end_abandoned_runs(instance) == [run_id]


@pytest.mark.parametrize("worker", [this_worker(), None, "another-machine/1/1000000000"])
def test_runs_that_live_or_may_live_are_left_alone(instance, worker):
    run_id = started(instance, worker)
    assert end_abandoned_runs(instance) == []
    assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.STARTED


def test_runs_that_wait_or_have_ended_are_left_alone(instance):
    gone = ended_process()
    for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE):
        started(instance, gone, status)
    assert end_abandoned_runs(instance) == []
