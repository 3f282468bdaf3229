"""The index shards."""

from collections.abc import Iterator

import dagster as dg

from forebay.settings import IndexSettings
from orchestration.code_versions import index_version
from orchestration.defs.embeddings import embeddings
from orchestration.defs.projection import projection
from orchestration.launching import JobLauncher
from orchestration.resources import SHARDS, SINGLE_RUN, SPARK_POOL, launch_job
from quality.suites.index import INDEX_CHECKS

__all__ = ["index_shards"]


@dg.asset(
    deps=[projection, embeddings],
    partitions_def=SHARDS,
    backfill_policy=SINGLE_RUN,
    code_version=index_version(IndexSettings()),
    pool=SPARK_POOL,
    kinds={"spark", "qdrant"},
    group_name="release",
    check_specs=[dg.AssetCheckSpec(name, asset="index_shards", blocking=True) for name in INDEX_CHECKS],
)
def index_shards(
    context: dg.AssetExecutionContext, launcher: dg.ResourceParam[JobLauncher]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Immutable shards, of Qdrant Edge or in Weaviate; only those that aren't there yet are built."""
    yield from launch_job(context, launcher, "spark_jobs.load_index.main", checks=INDEX_CHECKS)
