"""What assets share: the partitions, the Pipes client, and launching a job through it."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from forebay.documents import partition_keys
from forebay.errors import QualityError
from forebay.settings import CorpusSettings

__all__ = ["SHARDS", "SINGLE_RUN", "launch_job", "pipes_resources"]

SHARDS = dg.StaticPartitionsDefinition(partition_keys(CorpusSettings().shards))
"""Hash shards of the corpus; one Dagster partition, one commit unit and one index shard each."""

SINGLE_RUN = dg.BackfillPolicy.single_run()
"""A range of partitions is one run, so one JVM."""


def pipes_resources() -> dict[str, Any]:
    """Build the resources of the definitions."""
    return {"pipes": dg.PipesSubprocessClient(env=dict(os.environ))}


def launch_job(
    context: dg.AssetExecutionContext,
    pipes: dg.PipesSubprocessClient,
    module: str,
    *,
    checks: Sequence[str],
    extras: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult[Any]:
    """Run a Spark job as a process and take over what it reports.

    Args:
        context: Context of the asset.
        pipes: Client that starts the process.
        module: Module to run.
        checks: Names of the checks that the job must report.
        extras: More orders for the job.

    Raises:
        QualityError: the job ended well but left out a check. Dagster would let the next asset run.
    """
    orders = {
        # Pipes gives a range run no partitions of its own.
        "partition_keys": list(context.partition_keys),
        "n_shards": len(SHARDS.get_partition_keys()),
        **(extras or {}),
    }
    invocation = pipes.run(command=[sys.executable, "-m", module], context=context, extras=orders)
    result = invocation.get_materialize_result()
    reported = {check.check_name for check in result.check_results or []}
    if missing := sorted(set(checks) - reported):
        raise QualityError(f"the job {module} didn't report the checks {', '.join(missing)}.")
    return result
