"""What every job does towards Dagster: read its orders, report progress, checks and the materialization."""

import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from dagster_pipes import (
    PipesContext,
    PipesDefaultContextLoader,
    PipesDefaultMessageWriter,
    PipesEnvVarParamsLoader,
    PipesMetadataValue,
)
from pyspark.errors import PySparkException

from forebay import errors
from forebay.documents import partition_number
from forebay.errors import ForebayError
from forebay.processes import die_with_parent
from forebay.settings import PathSettings
from forebay.tables import Table
from quality.validate import CheckOutcome
from spark_jobs.shard_count import require_shard_count

__all__ = ["JobOrders", "Reporter", "error_of_task", "job_clock", "run_job"]


@dataclass(frozen=True)
class JobOrders:
    """What Dagster asked for."""

    run_id: str
    """Id of the Dagster run; stands in every row that the run writes."""
    shards: tuple[int, ...]
    """Shards that the run covers."""
    n_shards: int
    """Shards of the corpus."""
    sources: tuple[str, ...]
    """Sources to ingest (the parse job only)."""

    @property
    def is_full(self) -> bool:
        """Whether the run covers the whole corpus."""
        return len(self.shards) == self.n_shards

    @property
    def where(self) -> str | None:
        """SQL condition for the run's shards; None where it covers all."""
        return None if self.is_full else f"shard IN ({', '.join(map(str, self.shards))})"


class Reporter:
    """Reports to Dagster what a job does."""

    def __init__(self, context: PipesContext) -> None:
        self._context = context
        self._startup_s = 0.0
        # Messages are written in pieces, and two threads would mix theirs.
        self._one_at_a_time = threading.Lock()

    def progress(self, message: str) -> None:
        """Say how far the job is."""
        with self._one_at_a_time:
            self._context.log.info(message)

    def checks(self, outcomes: Sequence[CheckOutcome]) -> None:
        """Report the verdict of every check."""
        with self._one_at_a_time:
            for outcome in outcomes:
                self._context.report_asset_check(
                    check_name=outcome.name,
                    passed=outcome.passed,
                    severity="ERROR",
                    metadata={name: _typed(value) for name, value in outcome.metadata.items()},
                )

    def started(self) -> None:
        """Note that the session is up and the job's work begins."""
        self._startup_s = job_clock.seconds()

    def materialization(self, table: Table, *, changed: Mapping[str, int], **more: Any) -> None:
        """Report a table as the run wrote it; see `figures`."""
        if "shard" in table.schema.names:
            more["rows_per_shard"] = table.rows_per_shard()
        self.figures(rows=table.count(), size_bytes=table.size_bytes(), changed=changed, **more)

    def figures(self, *, rows: int, size_bytes: int, changed: Mapping[str, int], **more: Any) -> None:
        """Report rows, bytes, seconds and what changed; `more` are JSON values."""
        metadata: dict[str, Any] = {
            "dagster/row_count": rows,
            "bytes": size_bytes,
            "seconds": round(job_clock.seconds(), 2),
            "seconds_of_startup": round(self._startup_s, 2),
            **{f"rows_{name}": count for name, count in changed.items()},
            **{name: _json(value) for name, value in more.items()},
        }
        with self._one_at_a_time:
            self._context.report_asset_materialization(metadata=metadata)

    def unchanged(self, table: Table, checks: Sequence[str], **more: Any) -> None:
        """Report that the table already reflects what it is made from, so that its checks still hold."""
        self.progress("nothing changed")
        self.started()
        self.checks([CheckOutcome(name, True, {"note": "nothing changed since the last run"}) for name in checks])
        self.materialization(table, changed={}, **more)


class _JobClock:
    """Measures a job; importing libraries is part of the first job's time."""

    def __init__(self) -> None:
        self._began = time.monotonic() - (time.time() - psutil.Process().create_time())

    def restart(self) -> None:
        """Begin the time of another job."""
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Give the seconds since the job began."""
        return time.monotonic() - self._began


job_clock = _JobClock()
"""The time of the job that this process runs now."""


def _json(value: Any) -> PipesMetadataValue:
    return {"raw_value": value, "type": "json"}


def _typed(value: Any) -> Any:
    """Name the type of what Pipes takes for a value with its type, and refuses where it is none."""
    return _json(value) if isinstance(value, dict) else value


def run_job(job: Callable[[JobOrders, Reporter], None]) -> None:
    """Run a job for Dagster; a `ForebayError` ends it with one sentence instead of a stack trace.

    One in a Spark task is told, too, but it is a crash: the store that a task didn't reach may be back soon.
    """
    # Whoever runs the job holds the lock on the data folder.
    die_with_parent()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # Not `open_dagster_pipes`: it gives a process the first job's closed connection again.
    connection = PipesEnvVarParamsLoader(), PipesDefaultContextLoader(), PipesDefaultMessageWriter()
    with PipesContext(*connection) as context:
        keys: list[str] = context.get_extra("partition_keys")
        orders = JobOrders(
            run_id=context.run_id,
            shards=tuple(partition_number(key) for key in keys),
            n_shards=context.get_extra("n_shards"),
            sources=tuple(context.extras.get("sources", ())),
        )
        try:
            require_shard_count(PathSettings(), orders.n_shards)
            job(orders, Reporter(context))
        except ForebayError as exc:
            _tell(context, exc, is_final=True)
            raise SystemExit(1) from exc
        except PySparkException as exc:
            if told := error_of_task(exc):
                _tell(context, told, is_final=False)
            raise


def _tell(context: PipesContext, error: ForebayError, *, is_final: bool) -> None:
    """Say what ended the job; where it isn't final, trying again may help."""
    context.log.error(str(error))
    context.report_custom_message({"error": type(error).__name__, "message": str(error), "is_final": is_final})


def error_of_task(failure: PySparkException) -> ForebayError | None:
    """Find the error of ours that ended a Spark task; only its traceback's text comes back from there."""
    found = re.findall(rf"^{errors.__name__}\.(\w+): (.+)$", str(failure), re.MULTILINE)
    if not found:
        return None
    name, message = found[-1]
    kind = getattr(errors, name, ForebayError)
    return kind(message)
