"""Starting a Spark job through Pipes, and knowing what it reported even when it failed."""

import json
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import dagster as dg

__all__ = ["FileReader", "JobFailedError", "JobLauncher", "JobReports", "SubprocessLauncher", "job_failures"]


_END_TIMEOUT_S = 20


@dataclass
class JobReports:
    """What a job reported."""

    checks: Sequence[dg.AssetCheckResult] = ()
    """Verdicts of its checks."""
    sentence: str | None = None
    """What it said of its end; None where it crashed without a word, or succeeded."""
    has_refused: bool = False
    """Whether it ended by itself, so that trying again doesn't help."""

    def take(self, handler: dg.PipesMessageHandler) -> None:
        """Read what Pipes has received."""
        results = handler.get_reported_results()
        self.checks = [result for result in results if isinstance(result, dg.AssetCheckResult)]
        for message in handler.get_custom_messages():
            if isinstance(message, dict) and "error" in message:
                self.sentence = str(message.get("message", message["error"]))
                self.has_refused = bool(message.get("is_final", True))


@dataclass
class JobFailedError(Exception):
    """A job ended without success."""

    cause: str
    """What the launcher says."""
    reports: JobReports = field(default_factory=JobReports)

    def __str__(self) -> str:
        return self.reports.sentence or self.cause

    @property
    def has_crashed(self) -> bool:
        """Whether trying again may help: the job neither refused nor found a check failed."""
        return not self.reports.has_refused and all(check.passed for check in self.reports.checks)


class JobLauncher(Protocol):
    """Starts the Spark jobs somewhere."""

    def run(
        self, context: dg.AssetExecutionContext, module: str, orders: Mapping[str, Any]
    ) -> dg.MaterializeResult[Any]:
        """Run a module to its end and give what it reported.

        Raises:
            JobFailedError: it could not be started, or ended badly.
        """
        ...

    def close(self) -> None:
        """End what it keeps for the next job; the run is over."""
        ...


class FileReader(dg.PipesTempFileMessageReader):
    """Reads a local job's messages and keeps its reports."""

    def __init__(self) -> None:
        super().__init__()
        self.reports = JobReports()

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Generator[Any]:
        """Read until the session ends."""
        try:
            with super().read_messages(handler) as params:
                yield params
        finally:
            self.reports.take(handler)


class SubprocessLauncher:
    """Runs the jobs of a Dagster run in one child process (`spark_jobs.job_process`), which ends with the run."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, context: dg.AssetExecutionContext, module: str, orders: Mapping[str, Any]
    ) -> dg.MaterializeResult[Any]:
        """Run the module; see `JobLauncher.run`."""
        reader = FileReader()
        with job_failures(reader.reports):
            with dg.open_pipes_session(
                context=context,
                context_injector=dg.PipesTempFileContextInjector(),
                message_reader=reader,
                extras=dict(orders),
            ) as session:
                self._run(module, session.get_bootstrap_env_vars())
            return dg.PipesClientCompletedInvocation(session).get_materialize_result()

    def close(self) -> None:
        """End the process and its JVM; a job under way is broken off."""
        if self._process is None:
            return
        try:
            # The end of its input ends an idle process.
            self._process.communicate(timeout=_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        finally:
            self._process = None

    def _run(self, module: str, environment: Mapping[str, str]) -> None:
        if self._process is None:
            command = [sys.executable, "-m", "spark_jobs.job_process"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # One that died while it had nothing to do is found out by its answer.
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps({"module": module, "environment": dict(environment)}) + "\n")
                process.stdin.flush()
            is_done = bool(process.stdout.readline())
        except BaseException:
            # Dagster's interrupt is one of them.
            process.send_signal(signal.SIGINT)
            self.close()
            raise
        if not is_done:
            self.close()
            raise ChildProcessError(f"the job {module} ended with code {process.returncode}")


@contextmanager
def job_failures(reports: JobReports) -> Generator[None]:
    """Turn what a Pipes client raises into `JobFailedError`.

    Raises:
        JobFailedError: the client raised; Dagster's own errors and interrupts pass through.
    """
    try:
        yield
    except dg.DagsterError:
        raise
    except Exception as exc:
        # The clients raise their own and their libraries' errors, for which there is no common name.
        raise JobFailedError(str(exc), reports) from exc
