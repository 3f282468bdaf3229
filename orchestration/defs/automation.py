"""Jobs, the nightly schedule and the folder sensor."""

import dagster as dg

from forebay.errors import ConfigurationError
from forebay.settings import CorpusSettings
from forebay.sources import source_fingerprint
from orchestration.resources import SHARDS

__all__ = ["ALL_SHARDS", "INGEST_JOB", "JOBS", "SCHEDULES", "SENSORS"]

INGEST_JOB = "ingest_job"
"""Name of the job from documents to release."""

_KEYS = SHARDS.get_partition_keys()
ALL_SHARDS = {
    "dagster/asset_partition_range_start": _KEYS[0],
    "dagster/asset_partition_range_end": _KEYS[-1],
}
"""Run tags of a run over the whole corpus."""

ingest_job = dg.define_asset_job(
    INGEST_JOB,
    selection=dg.AssetSelection.groups("corpus", "release"),
    description="From the source's documents to the current release; does only what changed.",
    # Each heavy step is a process of its own already.
    executor_def=dg.in_process_executor,
    tags=ALL_SHARDS,
)

quantize_generator_job = dg.define_asset_job(
    "quantize_generator_job",
    selection=dg.AssetSelection.groups("models"),
    description="Make, check and offer the AWQ checkpoint of the generator.",
    executor_def=dg.in_process_executor,
)

JOBS = [ingest_job, quantize_generator_job]


@dg.schedule(job=ingest_job, cron_schedule="0 2 * * *", execution_timezone="UTC")
def ingest_nightly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ingest the configured source every night."""
    source = CorpusSettings().source
    if source is None:
        return dg.SkipReason("no source is configured; set FOREBAY_CORPUS_SOURCE to the folder of documents.")
    return dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%d}", tags=ALL_SHARDS)


@dg.sensor(job=ingest_job, minimum_interval_seconds=60)
def source_folder_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Ingest the configured source when a file of it was added, changed or removed."""
    source = CorpusSettings().source
    if source is None:
        return dg.SkipReason("no source is configured; set FOREBAY_CORPUS_SOURCE to the folder of documents.")
    try:
        seen = source_fingerprint(source)
    except ConfigurationError as exc:
        return dg.SkipReason(str(exc))
    if seen == context.cursor:
        return dg.SkipReason(f"nothing changed in {source}")
    # The evaluation's time is in the key: a run key is never used twice, but a folder may change back.
    request = dg.RunRequest(run_key=f"{seen}-{context.last_tick_completion_time}", tags=ALL_SHARDS)
    return dg.SensorResult(run_requests=[request], cursor=seen)


SCHEDULES = [ingest_nightly_schedule]
SENSORS = [source_folder_sensor]
