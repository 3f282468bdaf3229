"""Everything that Dagster shows and runs; loads and merges only."""

import dagster as dg

from orchestration.defs import (
    automation,
    canary,
    chunks,
    documents,
    embeddings,
    index,
    maintenance,
    models,
    projection,
    proposals,
    release,
    report,
    sensors,
    weaviate,
)
from orchestration.resources import resources

defs = dg.Definitions(
    assets=dg.load_assets_from_modules(
        [documents, chunks, embeddings, projection, index, release, canary, report, proposals, models, maintenance]
    ),
    jobs=[*automation.JOBS, *maintenance.JOBS, *weaviate.JOBS, *canary.JOBS],
    schedules=[*automation.SCHEDULES, *maintenance.SCHEDULES],
    sensors=[*sensors.SENSORS, *canary.SENSORS],
    resources=resources(),
    # What Dagster's page materializes by hand shares a JVM, too.
    executor=dg.in_process_executor,
)
