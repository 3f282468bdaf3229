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
    @dg.job(name="some_job")
    def some_job():
        pass

    run_id = instance.create_run_for_job(some_job, status=status).run_id
    if worker is not None:
        instance.add_run_tags(run_id, {WORKER_TAG: f"{run_id}/{worker}"})
    return run_id


def me():
    return this_worker("a-run").partition("/")[2]


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
    host, pid, _ = me().split("/")
    assert end_abandoned_runs(instance) == []
    run_id = started(instance, f"{host}/{pid}/1000000000")
    assert end_abandoned_runs(instance) == [run_id]


@pytest.mark.parametrize(
    "worker", [me(), None, "another-machine/1/1000000000"], ids=["this process", "none", "elsewhere"]
)
def test_runs_that_live_or_may_live_are_left_alone(instance, worker):
    run_id = started(instance, worker)
    assert end_abandoned_runs(instance) == []
    assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.STARTED


def test_a_run_that_was_started_again_is_not_its_predecessor(instance):
    first = started(instance, ended_process())
    second = started(instance, None)
    instance.add_run_tags(second, {WORKER_TAG: instance.get_run_by_id(first).tags[WORKER_TAG]})
    assert end_abandoned_runs(instance) == [first]


def test_runs_that_wait_or_have_ended_are_left_alone(instance):
    gone = ended_process()
    for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE):
        started(instance, gone, status)
    assert end_abandoned_runs(instance) == []
