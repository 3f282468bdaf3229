import os
import signal
import subprocess
import sys
import textwrap
import time

import dagster as dg
import psutil
import pytest

from orchestration import resources
from orchestration.abandoned_runs import WORKER_TAG, this_worker
from orchestration.defs.automation import ALL_SHARDS
from orchestration.launching import JobLauncher
from orchestration.resources import INTERACTIVE_TAG, SHARDS, launch_job

CHECKS = ("rows_are_there", "rows_are_unique")
KEYS = SHARDS.get_partition_keys()
_PATIENCE_S = 120

PREAMBLE = """
import os, sys
from dagster_pipes import open_dagster_pipes
with open(os.environ["STARTS"], "a") as starts:
    starts.write("x")
with open_dagster_pipes() as job:
    keys = job.get_extra("partition_keys")
    def checks(*passed):
        for name, verdict in zip(("rows_are_there", "rows_are_unique"), passed):
            job.report_asset_check(check_name=name, passed=verdict, severity="ERROR", metadata={"seen": name})
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Give a function that runs an asset whose job is `body`; it gives the result and how often the job began."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.getcwd()}")
    monkeypatch.setenv("STARTS", str(tmp_path / "starts"))
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(resources, "_RETRY_DELAY_S", 0)

    @dg.asset(
        partitions_def=SHARDS,
        backfill_policy=resources.SINGLE_RUN,
        code_version="1",
        check_specs=[dg.AssetCheckSpec(name, asset="table", blocking=True) for name in CHECKS],
    )
    def table(context: dg.AssetExecutionContext, launcher: dg.ResourceParam[JobLauncher]):
        yield from launch_job(context, launcher, "stub_job", checks=CHECKS, extras={"more": 7})

    def start(body, preamble=PREAMBLE, **tags):
        (tmp_path / "stub_job.py").write_text(preamble + textwrap.indent(textwrap.dedent(body), "    "))
        instance = dg.DagsterInstance.ephemeral()
        result = dg.materialize(
            [table],
            instance=instance,
            resources={"launcher": resources.resources()["launcher"]},
            tags={**ALL_SHARDS, **tags},
            raise_on_error=False,
        )
        return result, len((tmp_path / "starts").read_text()), instance

    return start


def verdicts(result):
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def failure(result):
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return event.step_failure_data.user_failure_data


SUCCESS = """
assert job.get_extra("more") == 7 and job.get_extra("n_shards") == len(keys)
checks(True, True)
rows = {key: 10 * number for number, key in enumerate(keys) if number != 1}
job.report_asset_materialization(
    metadata={"dagster/row_count": 99, "rows_per_shard": {"raw_value": rows, "type": "json"}}
)
"""


def test_each_partition_shows_its_own_rows(run):
    result, starts, instance = run(SUCCESS)
    assert result.success
    assert starts == 1
    shown = {event.partition: event.materialization.metadata for event in result.get_asset_materialization_events()}
    counts = {key: metadata["dagster/partition_row_count"].value for key, metadata in shown.items()}
    assert counts == {key: 0 if number == 1 else 10 * number for number, key in enumerate(KEYS)}
    assert {metadata["dagster/row_count"].value for metadata in shown.values()} == {99}
    # All shards' numbers at every one of them would be their square.
    assert not any("rows_per_shard" in metadata for metadata in shown.values())
    assert verdicts(result) == {"rows_are_there": True, "rows_are_unique": True}
    assert instance.get_run_by_id(result.run_id).tags[WORKER_TAG] == this_worker(result.run_id)


def test_a_job_without_numbers_per_shard_is_as_good(run):
    result, _, _ = run("checks(True, True)\njob.report_asset_materialization(metadata={'dagster/row_count': 1})")
    assert result.success
    assert len(result.get_asset_materialization_events()) == len(KEYS)


def data_versions(result):
    events = result.get_asset_materialization_events()
    return {event.materialization.tags["dagster/data_version"] for event in events}


def test_the_data_version_is_the_jobs_own_or_the_runs(run):
    report = "checks(True, True)\njob.report_asset_materialization(metadata={}, data_version=%r)"
    result, _, _ = run(report % "table-7")
    assert data_versions(result) == {"table-7"}
    result, _, _ = run(report % None)
    assert data_versions(result) == {result.run_id}


def test_a_failed_check_is_shown_and_not_tried_again(run):
    result, starts, _ = run("checks(True, False)\nsys.exit(1)")
    assert not result.success
    assert starts == 1
    assert verdicts(result) == {"rows_are_there": True, "rows_are_unique": False}
    assert failure(result).metadata["failed_checks"].value == "rows_are_unique"
    assert not result.get_asset_materialization_events()


def test_a_refusal_is_its_sentence_and_not_tried_again(run):
    told = 'job.report_custom_message({"error": "ConfigurationError", "message": "there is no folder x."})\nsys.exit(1)'
    result, starts, _ = run(told)
    assert not result.success
    assert starts == 1
    assert failure(result).description == "there is no folder x."


@pytest.mark.parametrize(
    ("failure_of", "starts_wanted"),
    [
        ('PySparkException("Traceback\\nforebay.errors.IndexBuildError: {told}\\n")', 2),
        ('IndexBuildError("{told}")', 1),
    ],
)
def test_a_sentence_from_a_spark_task_is_told_and_its_job_tried_again(run, failure_of, starts_wanted):
    """The job itself, unlike a task, knows that trying again is useless."""
    told = "the cluster doesn't answer."
    body = f"""
        from pyspark.errors import PySparkException
        from forebay.errors import IndexBuildError
        from spark_jobs.pipes import run_job

        def fail(orders, report):
            raise {failure_of.format(told=told)}

        run_job(fail)
    """
    begun = 'import os\nwith open(os.environ["STARTS"], "a") as starts:\n    starts.write("x")\nif True:\n'
    result, starts, _ = run(body, preamble=begun)
    assert (starts, failure(result).description) == (starts_wanted, told)


def test_a_crash_is_tried_once_more(run):
    result, starts, _ = run("os._exit(9)")
    assert not result.success
    assert starts == 2
    assert "code 9" in failure(result).description


def test_the_second_try_may_succeed(run):
    result, starts, _ = run('if len(open(os.environ["STARTS"]).read()) == 1: os._exit(9)\n' + SUCCESS)
    assert result.success
    assert starts == 2


def test_a_crash_is_not_tried_again_while_somebody_waits(run):
    result, starts, _ = run("os._exit(9)", **{INTERACTIVE_TAG: "true"})
    assert not result.success
    assert starts == 1


@pytest.mark.parametrize("body", ["checks(True)\njob.report_asset_materialization(metadata={})", "pass"])
def test_a_job_that_leaves_out_a_check_has_failed(run, body):
    result, starts, _ = run(body)
    assert not result.success
    assert starts == 1
    assert "rows_are_unique" in failure(result).description


def test_a_job_that_never_opens_pipes_has_failed(run):
    result, _, _ = run("", preamble='open(__import__("os").environ["STARTS"], "a").close()')
    assert not result.success
    assert "rows_are_unique" in failure(result).description


PROCESSES = """
with open(os.environ["STARTS"] + ".pids", "a") as pids:
    pids.write(f"{os.getpid()}\\n")
"""


def pids_of(folder):
    return [int(line) for line in (folder / "starts.pids").read_text().splitlines()]


def test_the_jobs_of_a_run_share_a_process_that_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.getcwd()}")
    monkeypatch.setenv("STARTS", str(tmp_path / "starts"))
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path / "data"))
    (tmp_path / "first_job.py").write_text(PREAMBLE + textwrap.indent(PROCESSES, "    "))
    (tmp_path / "second_job.py").write_text(f"import os{PROCESSES}print('printed, not an answer')\n")

    @dg.op
    def both(context: dg.OpExecutionContext, launcher: dg.ResourceParam[JobLauncher]):
        for module in ("first_job", "second_job"):
            with pytest.raises(Exception, match="materializ"):
                # A job without an asset has nothing to give.
                launcher.run(context, module, {"partition_keys": [], "n_shards": 0})
        assert psutil.pid_exists(pids_of(tmp_path)[0])

    @dg.job(resource_defs={"launcher": resources.resources()["launcher"]})
    def jobs():
        both()

    assert jobs.execute_in_process().success
    first, second = pids_of(tmp_path)
    assert first == second
    assert not psutil.pid_exists(first)


LONG = f"""
import time
try:{textwrap.indent(PROCESSES, "    ")}
    time.sleep(600)
finally:
    # Not where it is killed.
    open(os.environ["STARTS"] + ".ended", "w").close()
"""

INTERRUPTED = """
import sys
import dagster as dg
import psutil
from orchestration import resources
from orchestration.launching import JobLauncher

@dg.op
def alone(context: dg.OpExecutionContext, launcher: dg.ResourceParam[JobLauncher]):
    launcher.run(context, "stub_job", {"partition_keys": [], "n_shards": 0})

@dg.job(resource_defs={"launcher": resources.resources()["launcher"]})
def jobs():
    alone()

try:
    jobs.execute_in_process()
except BaseException as interrupt:
    # Later the end of this process would end the job, too.
    print(type(interrupt).__name__, *(psutil.pid_exists(int(pid)) for pid in open(sys.argv[1])))
"""


def test_an_interrupted_run_ends_its_job(tmp_path):
    started = tmp_path / "starts.pids"
    (tmp_path / "stub_job.py").write_text(PREAMBLE + textwrap.indent(LONG, "    "))
    environment = os.environ | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}",
        "STARTS": str(tmp_path / "starts"),
        "FOREBAY_DATA": str(tmp_path / "data"),
    }
    # In a process of its own: a signal to this one may end all tests.
    command = [sys.executable, "-c", INTERRUPTED, str(started)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_for_line(started, process)
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=_PATIENCE_S)
        finally:
            # Whatever went wrong, no test may wait for it for ever.
            process.kill()
    assert told.splitlines()[-1] == "DagsterExecutionInterruptedError False"
    assert (tmp_path / "starts.ended").exists()


def wait_for_line(path, process):
    deadline = time.monotonic() + _PATIENCE_S
    while not (path.exists() and path.read_text().endswith("\n")):
        assert process.poll() is None, "it ended before its job began"
        assert time.monotonic() < deadline, "its job doesn't begin"
        time.sleep(0.05)
