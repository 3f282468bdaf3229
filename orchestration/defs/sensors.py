"""What notices by itself: that a source changed, that a run failed, and that the process of a run is gone."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import dagster as dg

from forebay.documents import content_hash
from forebay.settings import CorpusSettings, PathSettings
from forebay.sources.contract import Changes
from forebay.sources.registry import open_source
from orchestration.abandoned_runs import end_abandoned_runs
from orchestration.defs.automation import ACTIVE, ALL_SHARDS, INCREMENTAL, INGEST_JOB, backfill_job, ingest_job
from orchestration.listing import Listing
from orchestration.run_report import report_failed_run
from orchestration.sources import absolute_sources

__all__ = ["SENSORS"]

# Dagster ends a tick after 60 s, and what it has found is lost.
_BUDGET_S = 30.0

# Listings that took longer than their tick, by source: the process stays, and a later tick takes what they found.
_UNDER_WAY: dict[str, Listing] = {}


@dataclass
class _Watch:
    """What the sensor remembers between ticks."""

    cursors: dict[str, str] = field(default_factory=dict[str, str])
    """Cursor of each source at the run that was last asked for."""
    next: str = ""
    """The source to begin with: the first one that the last tick had no time for."""

    @classmethod
    def read(cls, cursor: str | None) -> "_Watch":
        try:
            return cls(**json.loads(cursor or "{}"))
        except (ValueError, TypeError):
            # Written by an earlier version.
            return cls()

    def write(self) -> str:
        return json.dumps({"cursors": self.cursors, "next": self.next})

    def order(self, sources: Sequence[str]) -> list[str]:
        start = sources.index(self.next) if self.next in sources else 0
        return [*sources[start:], *sources[:start]]


@dataclass
class _Look:
    """What one tick found."""

    changed: dict[str, str] = field(default_factory=dict[str, str])
    """New cursors of the sources that hold something to ingest."""
    idle: dict[str, str] = field(default_factory=dict[str, str])
    """Cursors of the others."""
    problems: list[str] = field(default_factory=list[str])
    """Sentences about sources that could not be listed."""
    next: str = ""
    """The first source that there was no time for."""


@dg.sensor(job=ingest_job, minimum_interval_seconds=60)
def sources_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ingest the configured sources in which something was added, changed or removed."""
    sources = list(dict.fromkeys(absolute_sources(CorpusSettings().sources)))
    if not sources:
        return dg.SkipReason("no source is configured; set FOREBAY_CORPUS_SOURCES to folders or addresses.")
    if context.instance.get_runs_count(dg.RunsFilter(job_name=INGEST_JOB, statuses=ACTIVE)):
        return dg.SkipReason(f"a run of {INGEST_JOB} is queued or under way; a later tick looks again")
    watch = _Watch.read(context.cursor)
    look = _look(watch, sources)
    for problem in look.problems:
        context.log.warning(problem)
    known = {name: cursor for name, cursor in watch.cursors.items() if name in sources}
    cursor = _Watch({**known, **look.idle, **look.changed}, look.next).write()
    if not look.changed:
        reason = "; ".join(["nothing changed", *look.problems])
        return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=cursor)
    # The tick's time is in the key: a run key is never used twice, but a source may change back.
    seen = content_hash(*(part for entry in sorted(look.changed.items()) for part in entry))
    request = dg.RunRequest(
        run_key=f"{seen}-{context.last_tick_completion_time}",
        run_config={"ops": {"documents": {"config": {"sources": list(look.changed)}}}},
        tags={**ALL_SHARDS, **INCREMENTAL},
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor)


def _look(watch: _Watch, sources: Sequence[str]) -> _Look:
    look, began = _Look(), time.monotonic()
    for name in _UNDER_WAY.keys() - set(sources):
        del _UNDER_WAY[name]
    for name in watch.order(sources):
        left_s = _BUDGET_S - (time.monotonic() - began)
        if left_s < 0:
            look.next = name
            break
        before = watch.cursors.get(name)
        listing = _UNDER_WAY.pop(name, None) or Listing(partial(_changes, name, before))
        if not listing.is_done_within(left_s):
            _UNDER_WAY[name] = listing
            look.problems.append(f"{name}: it is still being listed; a later tick looks again")
            continue
        try:
            changes = listing.result()
        except Exception as exc:
            # A connector's library may raise anything; the other sources have nothing to do with it.
            look.problems.append(f"{name}: {exc}")
            continue
        # A stream that was read to its end has a new cursor, too, but nothing to ingest.
        is_new = changes.cursor != before and (changes.is_snapshot or bool(changes.units))
        (look.changed if is_new else look.idle)[name] = changes.cursor
    return look


def _changes(name: str, cursor: str | None) -> Changes:
    return open_source(name).changes(cursor)


@dg.sensor(minimum_interval_seconds=300, default_status=dg.DefaultSensorStatus.RUNNING)
def abandoned_runs_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """End the runs whose process is gone, so that others need not wait for them."""
    ended = end_abandoned_runs(context.instance)
    return dg.SkipReason(f"ended: {', '.join(ended)}" if ended else "every run has its process")


@dg.run_failure_sensor(
    monitored_jobs=[ingest_job, backfill_job],
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
)
def failed_runs_sensor(context: dg.RunFailureSensorContext) -> None:
    """Write the report of a run that failed; what `forebay ingest` runs, it reports itself."""
    _, page = report_failed_run(context.instance, context.dagster_run.run_id, PathSettings())
    context.log.info(f"report: {page}")


SENSORS = [sources_sensor, abandoned_runs_sensor, failed_runs_sensor]
