"""Jobs, their priorities, and the nightly schedule."""

import dagster as dg

from forebay.settings import CorpusSettings
from orchestration.resources import SHARDS

__all__ = [
    "ACTIVE",
    "ALL_SHARDS",
    "BACKFILL_JOB",
    "INCREMENTAL",
    "INGEST_JOB",
    "INTERACTIVE",
    "JOBS",
    "REEMBED_JOB",
    "SCHEDULES",
    "ingest_job",
]

INGEST_JOB = "ingest_job"
"""Name of the job from documents to release."""
REEMBED_JOB = "reembed_job"
"""Name of the job from the documents that are there to a release with another embedding model."""
BACKFILL_JOB = "backfill_job"
"""Name of the job that makes the tables behind the documents again."""

# Runs that wait start by priority; runs of one kind of work start one after the other (see `forebay.dagster_home`).
INTERACTIVE = {"dagster/priority": "10"}
"""Tags of runs that somebody waits for: jobs started by hand."""
INCREMENTAL = {"dagster/priority": "0"}
"""Tags of runs that schedules and sensors start."""
BACKFILL = {"dagster/priority": "-10", "forebay/work": "backfill"}
"""Tags of runs that make old data again."""

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""What a run is that waits or works."""

_KEYS = SHARDS.get_partition_keys()
ALL_SHARDS = {
    "dagster/asset_partition_range_start": _KEYS[0],
    "dagster/asset_partition_range_end": _KEYS[-1],
}
"""Run tags of a run over the whole corpus."""

ingest_job = dg.define_asset_job(
    INGEST_JOB,
    selection=dg.AssetSelection.groups("corpus", "release"),
    description="From the sources' documents to the current release; does only what changed.",
    tags={**ALL_SHARDS, **INTERACTIVE, "forebay/work": "ingest"},
)

reembed_job = dg.define_asset_job(
    REEMBED_JOB,
    selection=dg.AssetSelection.assets("chunks", "embeddings") | dg.AssetSelection.groups("release"),
    description="From the documents that are there to a release with another embedding model.",
    tags={**ALL_SHARDS, **INTERACTIVE, "forebay/work": "ingest"},
)

backfill_job = dg.define_asset_job(
    BACKFILL_JOB,
    selection=dg.AssetSelection.assets("chunks", "embeddings", "index_shards"),
    description="Make the tables behind the documents again for a range of shards; everything else goes before it.",
    tags=BACKFILL,
)

quantize_generator_job = dg.define_asset_job(
    "quantize_generator_job",
    selection=dg.AssetSelection.groups("models"),
    description="Make, check and offer the AWQ checkpoint of the generator.",
    tags=INTERACTIVE,
)

JOBS = [ingest_job, reembed_job, backfill_job, quantize_generator_job]


@dg.schedule(job=ingest_job, cron_schedule="0 2 * * *", execution_timezone="UTC")
def ingest_nightly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ingest the configured sources every night."""
    if not CorpusSettings().sources:
        return dg.SkipReason("no source is configured; set FOREBAY_CORPUS_SOURCES to folders or addresses.")
    return dg.RunRequest(run_key=f"{context.scheduled_execution_time:%Y-%m-%d}", tags={**ALL_SHARDS, **INCREMENTAL})


SCHEDULES = [ingest_nightly_schedule]
