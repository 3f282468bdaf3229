"""The report of a run."""

import dagster as dg

from forebay.settings import PathSettings
from orchestration.defs.release import release
from orchestration.run_report import write_report

__all__ = ["run_report"]


@dg.asset(deps=[release], kinds={"python"}, group_name="release")
def run_report(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """What the run found and made: documents by source, duplicates, rejects, chunk lengths, time by stage."""
    markdown, page = write_report(context.instance, context.run.run_id, PathSettings())
    return dg.MaterializeResult(
        metadata={"report": dg.MetadataValue.md(markdown), "page": dg.MetadataValue.path(str(page))}
    )
