"""The chunk table."""

from collections.abc import Iterator

import dagster as dg

from forebay.settings import ChunkSettings, CorpusSettings, EmbeddingSettings, PathSettings
from orchestration.code_versions import chunks_version, model_identity
from orchestration.defs.documents import documents
from orchestration.launching import JobLauncher
from orchestration.resources import SHARDS, SINGLE_RUN, SPARK_POOL, launch_job
from quality.suites.chunks import CHUNK_CHECKS

__all__ = ["chunks"]


@dg.asset(
    deps=[documents],
    partitions_def=SHARDS,
    backfill_policy=SINGLE_RUN,
    code_version=chunks_version(CorpusSettings(), ChunkSettings(), model_identity(EmbeddingSettings(), PathSettings())),
    pool=SPARK_POOL,
    kinds={"spark", "lance"},
    group_name="corpus",
    check_specs=[dg.AssetCheckSpec(name, asset="chunks", blocking=True) for name in CHUNK_CHECKS],
)
def chunks(
    context: dg.AssetExecutionContext, launcher: dg.ResourceParam[JobLauncher]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Passages of the documents, cut by headings and sentences within the embedding model's token budget."""
    yield from launch_job(context, launcher, "spark_jobs.chunk_documents.main", checks=CHUNK_CHECKS)
