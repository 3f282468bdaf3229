"""The chunk table."""

import dagster as dg

from orchestration.defs.documents import documents
from orchestration.resources import SHARDS, SINGLE_RUN, launch_job
from quality.suites.chunks import CHUNK_CHECKS

__all__ = ["chunks"]


@dg.asset(
    deps=[documents],
    partitions_def=SHARDS,
    backfill_policy=SINGLE_RUN,
    kinds={"spark", "lance"},
    group_name="corpus",
    check_specs=[dg.AssetCheckSpec(name, asset="chunks", blocking=True) for name in CHUNK_CHECKS],
)
def chunks(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
    """Passages of the documents, cut by headings and sentences within the embedding model's token budget."""
    return launch_job(context, pipes, "spark_jobs.chunk_documents.main", checks=CHUNK_CHECKS)
