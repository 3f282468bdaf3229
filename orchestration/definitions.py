"""Everything that Dagster shows and runs; loads and merges only."""

import dagster as dg

from orchestration.defs import automation, chunks, documents, embeddings, index, models, release
from orchestration.resources import pipes_resources

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([documents, chunks, embeddings, index, release, models]),
    jobs=automation.JOBS,
    schedules=automation.SCHEDULES,
    sensors=automation.SENSORS,
    resources=pipes_resources(),
)
