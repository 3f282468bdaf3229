"""The embeddings table."""

import dagster as dg

from orchestration.defs.chunks import chunks
from orchestration.resources import SHARDS, SINGLE_RUN, launch_job
from quality.suites.embeddings import EMBEDDING_CHECKS

__all__ = ["embeddings"]


@dg.asset(
    deps=[chunks],
    partitions_def=SHARDS,
    backfill_policy=SINGLE_RUN,
    kinds={"spark", "lance", "torch"},
    group_name="corpus",
    check_specs=[dg.AssetCheckSpec(name, asset="embeddings", blocking=True) for name in EMBEDDING_CHECKS],
)
def embeddings(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
    """Vectors of the chunk texts; a text that has one is not embedded again."""
    return launch_job(context, pipes, "spark_jobs.embed_chunks.main", checks=EMBEDDING_CHECKS)
