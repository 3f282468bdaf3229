"""What assets share: the partitions, the pool, the launcher, and launching a job with it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from forebay.data_lock import is_locked
from forebay.documents import partition_keys
from forebay.settings import CorpusSettings, EmbeddingSettings, LaunchSettings, PathSettings, SparkSettings
from orchestration.abandoned_runs import WORKER_TAG, this_worker
from orchestration.launching import JobFailedError, JobLauncher, SubprocessLauncher

__all__ = ["INTERACTIVE_TAG", "SHARDS", "SINGLE_RUN", "SPARK_POOL", "job_launcher", "launch_job", "resources"]

SHARDS = dg.StaticPartitionsDefinition(partition_keys(CorpusSettings().shards))
"""Hash shards of the corpus; one Dagster partition, one commit unit and one index shard each."""

SINGLE_RUN = dg.BackfillPolicy.single_run()
"""A range of partitions is one run, so one JVM."""

SPARK_POOL = "spark"
"""Pool of the assets that start a JVM; the instance's configuration limits it."""

INTERACTIVE_TAG = "forebay/interactive"
"""Tag of runs that somebody waits for: they fail at once instead of trying again."""

_RETRIES = 1
_RETRY_DELAY_S = 30
_ROWS = "rows_per_shard"


def resources() -> dict[str, Any]:
    """Build the resources of the definitions."""
    pipes = dg.PipesSubprocessClient(env=dict(os.environ))
    return {"pipes": pipes, "launcher": dg.ResourceDefinition(_job_launcher)}


def _job_launcher(_: dg.InitResourceContext) -> Iterator[JobLauncher]:
    launcher = job_launcher(LaunchSettings())
    try:
        yield launcher
    finally:
        launcher.close()


def job_launcher(settings: LaunchSettings) -> JobLauncher:
    """Build the launcher that the settings ask for.

    Raises:
        ConfigurationError: they ask for Kubernetes without saying which image.
    """
    if settings.mode == "kubernetes":
        # It takes a second to import, and most people never need it.
        from orchestration.kubernetes_launcher import KubernetesLauncher

        return KubernetesLauncher(settings, SparkSettings(), EmbeddingSettings())
    return SubprocessLauncher()


def launch_job(
    context: dg.AssetExecutionContext,
    launcher: JobLauncher,
    module: str,
    *,
    checks: Sequence[str],
    extras: Mapping[str, Any] | None = None,
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[Any]]:
    """Run a Spark job and take over what it reports, the verdicts of its checks even where it failed.

    Args:
        context: Context of the asset.
        launcher: Starts the job.
        module: Module to run.
        checks: Names of the checks that the job must report.
        extras: More orders for the job.

    Raises:
        Failure: the job refused, a check failed, or one was left out; trying again would not help.
        RetryRequested: the job crashed for the first time in a run that nobody waits for.
    """
    # Pipes gives a range run no partitions of its own.
    orders = {"partition_keys": list(context.partition_keys), "n_shards": len(SHARDS.get_partition_keys())}
    context.instance.add_run_tags(context.run.run_id, {WORKER_TAG: this_worker(context.run.run_id)})
    if is_locked(PathSettings().data.absolute()):
        context.log.info("waiting for another job to end")
    try:
        result = launcher.run(context, module, {**orders, **(extras or {})})
    except JobFailedError as exc:
        yield from exc.reports.checks
        raise _failure(context, exc) from exc
    reported = {check.check_name for check in result.check_results or []}
    if missing := sorted(set(checks) - reported):
        # Dagster would let the next asset run.
        raise dg.Failure(f"the job {module} didn't report the checks {', '.join(missing)}.", allow_retries=False)
    yield _with_own_rows(context, result)


def _failure(context: dg.AssetExecutionContext, error: JobFailedError) -> dg.Failure | dg.RetryRequested:
    # Not a RetryPolicy: Dagster would also try a step again that somebody has cancelled.
    is_awaited = INTERACTIVE_TAG in context.run.tags
    if error.has_crashed and not is_awaited and context.retry_number < _RETRIES:
        context.log.warning(f"the job crashed ({error}); it is tried again in {_RETRY_DELAY_S} s")
        return dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=_RETRY_DELAY_S)
    failed = [check.check_name or "" for check in error.reports.checks if not check.passed]
    return dg.Failure(str(error), metadata={"failed_checks": ", ".join(failed) or "none"}, allow_retries=False)


def _with_own_rows(context: dg.AssetExecutionContext, result: dg.MaterializeResult[Any]) -> dg.MaterializeResult[Any]:
    """Give each partition its own number of rows: Dagster notes a range run's metadata at every partition alike."""
    metadata = dict(result.metadata or {})
    rows = metadata.pop(_ROWS, None)
    if isinstance(rows, dg.JsonMetadataValue) and isinstance(rows.data, dict):
        for key in context.partition_keys:
            own = {"dagster/partition_row_count": int(rows.data.get(key, 0))}
            context.add_asset_metadata(own, partition_key=key)
    return dg.MaterializeResult(
        asset_key=result.asset_key,
        metadata=metadata,
        check_results=result.check_results,
        # With a code version and none of these, Dagster takes new data for the old.
        data_version=result.data_version or dg.DataVersion(context.run.run_id),
        tags=result.tags,
    )
