"""Keeping the data folder small."""

import time
from dataclasses import asdict

import dagster as dg

from forebay.data_lock import data_lock
from forebay.maintenance import maintain
from forebay.settings import MaintenanceSettings, PathSettings

__all__ = ["JOBS", "SCHEDULES", "maintenance"]


@dg.asset(kinds={"python", "lance"}, group_name="maintenance")
def maintenance(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Tables compacted; old versions, files of killed tasks, and shards that no kept release needs, removed."""
    paths = PathSettings()
    began = time.monotonic()
    with data_lock(paths.data.absolute(), lambda: context.log.info("waiting for a job to end")):
        done = maintain(paths, MaintenanceSettings())
    return dg.MaterializeResult(
        metadata={
            **asdict(done),
            "bytes_freed": sum(done.bytes_before.values()) - sum(done.bytes_after.values()),
            "seconds": round(time.monotonic() - began, 2),
        }
    )


maintenance_job = dg.define_asset_job(
    "maintenance_job",
    selection=dg.AssetSelection.assets(maintenance),
    tags={"dagster/priority": "-10"},
)
JOBS = [maintenance_job]


@dg.schedule(job=maintenance_job, cron_schedule="0 4 * * 0", execution_timezone="UTC")
def maintenance_weekly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Clean the data folder every Sunday morning."""
    return dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%d}")


SCHEDULES = [maintenance_weekly_schedule]
