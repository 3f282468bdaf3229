"""Starting a Spark job through Pipes, and knowing what it reported even when it failed."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import dagster as dg

from orchestration.data_lock import locked_command

__all__ = ["FileReader", "JobFailedError", "JobLauncher", "JobReports", "SubprocessLauncher", "job_failures"]


@dataclass
class JobReports:
    """What a job reported."""

    checks: Sequence[dg.AssetCheckResult] = ()
    """Verdicts of its checks."""
    refusal: str | None = None
    """The sentence with which it ended by itself; None where it crashed or succeeded."""

    def take(self, handler: dg.PipesMessageHandler) -> None:
        """Read what Pipes has received."""
        results = handler.get_reported_results()
        self.checks = [result for result in results if isinstance(result, dg.AssetCheckResult)]
        for message in handler.get_custom_messages():
            if isinstance(message, dict) and "error" in message:
                self.refusal = str(message.get("message", message["error"]))


@dataclass
class JobFailedError(Exception):
    """A job ended without success."""

    cause: str
    """What the launcher says."""
    reports: JobReports = field(default_factory=JobReports)

    def __str__(self) -> str:
        return self.reports.refusal or self.cause

    @property
    def has_crashed(self) -> bool:
        """Whether trying again may help: the job neither refused nor found a check failed."""
        return self.reports.refusal is None and all(check.passed for check in self.reports.checks)


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
    """Starts the jobs as child processes: the JVM ends with its step, and has its memory for itself."""

    def run(
        self, context: dg.AssetExecutionContext, module: str, orders: Mapping[str, Any]
    ) -> dg.MaterializeResult[Any]:
        """Run the module; see `JobLauncher.run`."""
        reader = FileReader()
        client = dg.PipesSubprocessClient(env=dict(os.environ), message_reader=reader)
        with job_failures(reader.reports):
            done = client.run(command=locked_command(module), context=context, extras=dict(orders))
            return done.get_materialize_result()


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
