"""The embeddings table."""

from collections.abc import Iterator

import dagster as dg

from forebay.settings import EmbeddingSettings, PathSettings
from orchestration.code_versions import embeddings_version, model_identity
from orchestration.defs.chunks import chunks
from orchestration.launching import JobLauncher
from orchestration.resources import SHARDS, SINGLE_RUN, SPARK_POOL, launch_job
from quality.suites.embeddings import EMBEDDING_CHECKS

__all__ = ["embeddings"]


@dg.asset(
    deps=[chunks],
    partitions_def=SHARDS,
    backfill_policy=SINGLE_RUN,
    code_version=embeddings_version(EmbeddingSettings(), model_identity(EmbeddingSettings(), PathSettings())),
    pool=SPARK_POOL,
    kinds={"spark", "lance", "torch"},
    group_name="corpus",
    check_specs=[dg.AssetCheckSpec(name, asset="embeddings", blocking=True) for name in EMBEDDING_CHECKS],
)
def embeddings(
    context: dg.AssetExecutionContext, launcher: dg.ResourceParam[JobLauncher]
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Vectors of the chunk texts; a text that has one is not embedded again."""
    yield from launch_job(context, launcher, "spark_jobs.embed_chunks.main", checks=EMBEDDING_CHECKS)
