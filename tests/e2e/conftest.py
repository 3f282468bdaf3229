"""The real services, as `forebay serve` starts them, over the pipeline's release."""

import os
import socket
import subprocess
import sys
import time

import httpx
import pytest

from tests.pipeline import ROOT

_READY_S = 600
_STOP_S = 90


class Services:
    """The running online side."""

    def __init__(self, url, process, log):
        self.url = url
        self.process = process
        self.log = log


@pytest.fixture(scope="session")
def services(ingested, tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("services") / "services.log"
    environment = {
        **os.environ,
        "FOREBAY_DATA": str(ingested.data),
        "FOREBAY_SERVING_PORT": str(port),
        # An answer takes 2-20 s, by the processor and what else runs on it.
        "FOREBAY_SERVING_DRAIN_S": "60",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "forebay.cli.main", "serve"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    running = Services(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(running)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(running):
    deadline = time.monotonic() + _READY_S
    answer = "nothing listens"
    while time.monotonic() < deadline and running.process.poll() is None:
        try:
            response = httpx.get(f"{running.url}/health", timeout=5)
            answer = response.text
            if response.status_code == 200:
                return
        except httpx.HTTPError as exc:
            answer = repr(exc)
        time.sleep(1)
    raise AssertionError(f"the services are not ready: {answer}\n{running.log.read_text()[-4000:]}")
