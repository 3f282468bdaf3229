import os
import subprocess
import sys
import threading
import time

import pytest

from forebay.data_lock import data_lock, is_locked, locked_command

JOB = """
import os, pathlib, time
name = os.environ["NAME"]
pathlib.Path(name + ".began").touch()
while not pathlib.Path(name + ".end").exists():
    time.sleep(0.02)
"""


class Jobs:
    """Starts jobs that say when they begin and wait to be told to end."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = {}

    def start(self, name, data="data", command=()):
        environment = {**os.environ, "FOREBAY_DATA": str(self.folder / data), "NAME": name}
        environment["PYTHONPATH"] = f"{self.folder}{os.pathsep}{os.getcwd()}"
        command = [*command, *locked_command("lock_test_job")]
        self.processes[name] = subprocess.Popen(command, cwd=self.folder, env=environment)
        return self.processes[name]

    def has_begun(self, name):
        return (self.folder / f"{name}.began").exists()

    def wait_for(self, name):
        deadline = time.monotonic() + 60
        while not self.has_begun(name):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self, name):
        (self.folder / f"{name}.end").touch()


@pytest.fixture
def jobs(tmp_path):
    (tmp_path / "lock_test_job.py").write_text(JOB)
    jobs = Jobs(tmp_path)
    yield jobs
    for name, process in jobs.processes.items():
        jobs.end(name)
        process.kill()
        process.wait()


def test_a_second_job_waits_for_the_first(jobs, tmp_path):
    first = jobs.start("first")
    jobs.wait_for("first")
    assert is_locked(tmp_path / "data")
    second = jobs.start("second")
    time.sleep(1)
    assert not jobs.has_begun("second")
    jobs.end("first")
    jobs.wait_for("second")
    jobs.end("second")
    assert first.wait() == second.wait() == 0
    assert not is_locked(tmp_path / "data")


def test_a_killed_job_leaves_nothing_behind(jobs, tmp_path):
    job = jobs.start("killed")
    jobs.wait_for("killed")
    job.kill()
    job.wait()
    assert not is_locked(tmp_path / "data")


def test_a_job_whose_starter_was_killed_still_keeps_others_out(jobs, tmp_path):
    code = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"
    starter = jobs.start("orphan", command=[sys.executable, "-c", code])
    jobs.wait_for("orphan")
    starter.kill()
    starter.wait()
    assert is_locked(tmp_path / "data")
    jobs.start("next")
    jobs.end("orphan")
    jobs.wait_for("next")


def test_other_folders_are_free(jobs, tmp_path):
    jobs.start("a", data="a")
    jobs.wait_for("a")
    assert not is_locked(tmp_path / "b")
    jobs.start("b", data="b")
    jobs.wait_for("b")


def test_what_is_done_in_process_waits_too_and_says_so(jobs, tmp_path):
    waits = []

    def waiting():
        waits.append("waiting")
        threading.Timer(0.2, jobs.end, ["job"]).start()

    job = jobs.start("job")
    jobs.wait_for("job")
    with data_lock(tmp_path / "data", waiting):
        # The job has ended: nobody else could have freed the lock.
        assert job.wait() == 0
        assert is_locked(tmp_path / "data")
    with data_lock(tmp_path / "data", waiting):
        pass
    assert waits == ["waiting"]
