"""The index shards."""

import dagster as dg

from orchestration.defs.embeddings import embeddings
from orchestration.resources import SHARDS, SINGLE_RUN, launch_job

__all__ = ["INDEX_CHECKS", "index_shards"]

INDEX_CHECKS = ("shards_hold_every_chunk",)
"""Checks that the index job reports."""


@dg.asset(
    deps=[embeddings],
    partitions_def=SHARDS,
    backfill_policy=SINGLE_RUN,
    kinds={"spark", "qdrant"},
    group_name="release",
    check_specs=[dg.AssetCheckSpec(name, asset="index_shards", blocking=True) for name in INDEX_CHECKS],
)
def index_shards(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
    """Immutable Qdrant Edge shards; only those whose content changed are built."""
    return launch_job(context, pipes, "spark_jobs.load_index.main", checks=INDEX_CHECKS)
