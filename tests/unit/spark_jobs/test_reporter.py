"""What several threads of a job tell Dagster at the same time."""

import io
import json
import sys
import threading
import time

from dagster_pipes import (
    PipesContext,
    PipesDefaultContextLoader,
    PipesDefaultMessageWriter,
    PipesEnvVarParamsLoader,
    encode_param,
)

from quality.validate import CheckOutcome
from spark_jobs.pipes import Reporter

_TIMES = 20


class _Unhurried(io.StringIO):
    """A pod's output, of which another thread may write between two pieces of a message."""

    def writelines(self, lines):
        for line in lines:
            self.write(line)
            time.sleep(0.001)


def test_messages_of_two_threads_are_not_mixed(monkeypatch):
    output = _Unhurried()
    monkeypatch.setattr(sys, "stderr", output)
    context = {"asset_keys": ["chunks"], "run_id": "run", "retry_number": 0, "extras": {}}
    monkeypatch.setenv("DAGSTER_PIPES_CONTEXT", encode_param({"data": context}))
    monkeypatch.setenv("DAGSTER_PIPES_MESSAGES", encode_param({"stdio": "stderr"}))
    connection = PipesEnvVarParamsLoader(), PipesDefaultContextLoader(), PipesDefaultMessageWriter()
    with PipesContext(*connection) as pipes:
        report = Reporter(pipes)
        tells = threading.Thread(target=lambda: [report.progress(f"{n} tasks done") for n in range(_TIMES)])
        tells.start()
        report.checks([CheckOutcome(f"check {n}", True, {}) for n in range(_TIMES)])
        for n in range(_TIMES):
            report.checks([CheckOutcome(f"another {n}", True, {})])
        tells.join()
    written = [json.loads(line)["method"] for line in output.getvalue().splitlines()]
    assert (written.count("log"), written.count("report_asset_check")) == (_TIMES, 2 * _TIMES)
