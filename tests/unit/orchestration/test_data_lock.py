import os
import subprocess
import sys
import time

import pytest

from orchestration.data_lock import data_lock, is_locked, locked_command

JOB = """
import sys, time, pathlib
print("began", flush=True)
time.sleep(float(pathlib.Path("seconds").read_text()))
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Give a function that starts a job on `tmp_path / "data"`; what it leaves running is killed."""
    (tmp_path / "lock_test_job.py").write_text(JOB)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.getcwd()}")
    started = []

    def run(seconds, data="data"):
        (tmp_path / "seconds").write_text(str(seconds))
        process = subprocess.Popen(
            locked_command("lock_test_job"),
            cwd=tmp_path,
            env={**os.environ, "FOREBAY_DATA": str(tmp_path / data)},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_a_second_job_waits_for_the_first(start, tmp_path):
    first = start(1.5)
    assert first.stdout.readline() == "began\n"
    assert is_locked(tmp_path / "data")
    began = time.monotonic()
    second = start(0)
    assert second.stdout.readline() == "began\n"
    assert time.monotonic() - began > 1
    assert first.wait() == second.wait() == 0
    assert not is_locked(tmp_path / "data")


def test_a_killed_job_leaves_nothing_behind(start, tmp_path):
    job = start(600)
    assert job.stdout.readline() == "began\n"
    job.kill()
    job.wait()
    assert not is_locked(tmp_path / "data")


def test_a_job_whose_starter_was_killed_still_keeps_others_out(start, tmp_path):
    code = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"
    (tmp_path / "seconds").write_text("1.5")
    command = [sys.executable, "-c", code, *locked_command("lock_test_job")]
    environment = {**os.environ, "FOREBAY_DATA": str(tmp_path / "data")}
    starter = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert starter.stdout.readline() == "began\n"
    starter.kill()
    starter.wait()
    assert is_locked(tmp_path / "data")
    assert start(0).wait() == 0
    assert not is_locked(tmp_path / "data")


def test_other_folders_are_free(start, tmp_path):
    assert start(600, "a").stdout.readline() == "began\n"
    assert not is_locked(tmp_path / "b")


def test_what_is_done_in_process_waits_too_and_says_so(start, tmp_path):
    waits = []
    assert start(1.5).stdout.readline() == "began\n"
    began = time.monotonic()
    with data_lock(tmp_path / "data", lambda: waits.append("waiting")):
        assert time.monotonic() - began > 1
        assert is_locked(tmp_path / "data")
    assert waits == ["waiting"]
    with data_lock(tmp_path / "data", lambda: waits.append("waiting")):
        pass
    assert waits == ["waiting"]
