"""What every job does towards Dagster: read its orders, report progress, checks and the materialization."""

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster_pipes import PipesContext, open_dagster_pipes

from forebay.documents import partition_number
from forebay.errors import ForebayError
from forebay.tables import Table
from quality.validate import CheckOutcome

__all__ = ["JobOrders", "Reporter", "run_job"]


@dataclass(frozen=True)
class JobOrders:
    """What Dagster asked for."""

    run_id: str
    """Id of the Dagster run; stands in every row that the run writes."""
    shards: tuple[int, ...]
    """Shards that the run covers."""
    n_shards: int
    """Shards of the corpus."""
    source: str | None
    """Folder to ingest (the parse job only)."""

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
        self._started = time.monotonic()

    def progress(self, message: str) -> None:
        """Say how far the job is."""
        self._context.log.info(message)

    def checks(self, outcomes: Sequence[CheckOutcome]) -> None:
        """Report the verdict of every check."""
        for outcome in outcomes:
            self._context.report_asset_check(
                check_name=outcome.name,
                passed=outcome.passed,
                severity="ERROR",
                metadata=dict(outcome.metadata),
            )

    def materialization(self, *, rows: int, size_bytes: int, changed: Mapping[str, int], **more: Any) -> None:
        """Report the table: rows, bytes, seconds and what changed; `more` are JSON values."""
        metadata: dict[str, Any] = {
            "dagster/row_count": rows,
            "bytes": size_bytes,
            "seconds": round(time.monotonic() - self._started, 2),
            **{f"rows_{name}": count for name, count in changed.items()},
            **{name: {"raw_value": value, "type": "json"} for name, value in more.items()},
        }
        self._context.report_asset_materialization(metadata=metadata)

    def unchanged(self, table: Table, checks: Sequence[str]) -> None:
        """Report that the table already reflects what it is made from, so that its checks still hold."""
        self.progress("nothing changed")
        self.checks([CheckOutcome(name, True, {"note": "nothing changed since the last run"}) for name in checks])
        self.materialization(rows=table.count(), size_bytes=table.size_bytes(), changed={})


def run_job(job: Callable[[JobOrders, Reporter], None]) -> None:
    """Run a job for Dagster; a `ForebayError` ends it with one sentence instead of a stack trace."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with open_dagster_pipes() as context:
        keys: list[str] = context.get_extra("partition_keys")
        orders = JobOrders(
            run_id=context.run_id,
            shards=tuple(partition_number(key) for key in keys),
            n_shards=context.get_extra("n_shards"),
            source=context.extras.get("source"),
        )
        try:
            job(orders, Reporter(context))
        except ForebayError as exc:
            context.log.error(str(exc))  # noqa: TRY400 - the sentence is for people
            raise SystemExit(1) from exc
