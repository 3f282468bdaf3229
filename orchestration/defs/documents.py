"""The document table and the golden questions of its source."""

import shutil
from pathlib import Path

import dagster as dg

from forebay.errors import ConfigurationError
from forebay.golden import GoldenQuestions
from forebay.settings import CorpusSettings, PathSettings
from orchestration.resources import SHARDS, SINGLE_RUN, launch_job
from quality.suites.documents import DOCUMENT_CHECKS

__all__ = ["SourceConfig", "documents", "golden_questions"]


class SourceConfig(dg.Config):
    """What to ingest."""

    source: str = ""
    """Folder of the documents; empty for the setting FOREBAY_CORPUS_SOURCE."""

    def folder(self) -> Path:
        """Give the folder.

        Raises:
            ConfigurationError: none is given.
        """
        configured = self.source or CorpusSettings().source
        if not configured:
            raise ConfigurationError(
                "no source is given; set FOREBAY_CORPUS_SOURCE, or `source` in the launchpad, to a folder."
            )
        return Path(configured).absolute()


@dg.asset(
    partitions_def=SHARDS,
    backfill_policy=SINGLE_RUN,
    kinds={"spark", "lance"},
    group_name="corpus",
    check_specs=[dg.AssetCheckSpec(name, asset="documents", blocking=True) for name in DOCUMENT_CHECKS],
)
def documents(
    context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient, config: SourceConfig
) -> dg.MaterializeResult:
    """Documents of the source, parsed and compared with the table by content hash; rejects go to quarantine."""
    extras = {"source": str(config.folder())}
    return launch_job(context, pipes, "spark_jobs.parse_documents.main", checks=DOCUMENT_CHECKS, extras=extras)


@dg.asset(kinds={"python"}, group_name="corpus")
def golden_questions(config: SourceConfig) -> dg.MaterializeResult:
    """Questions and judgements beside the source's documents (`queries.jsonl`, `qrels.tsv`), if it has any."""
    folder = config.folder()
    queries, qrels = folder / "queries.jsonl", folder / "qrels.tsv"
    if not queries.is_file() or not qrels.is_file():
        return dg.MaterializeResult(metadata={"questions": 0, "note": f"{folder} has no golden questions"})
    golden = GoldenQuestions.load(queries, qrels)
    target = PathSettings().data.absolute() / "golden"
    target.mkdir(parents=True, exist_ok=True)
    for path in (queries, qrels):
        shutil.copyfile(path, target / path.name)
    return dg.MaterializeResult(
        metadata={"questions": len(golden.queries), "judgements": sum(map(len, golden.qrels.values()))}
    )
