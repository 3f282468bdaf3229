"""The document table and the golden questions of its sources."""

import shutil
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from forebay.errors import ConfigurationError
from forebay.golden import GoldenQuestions
from forebay.settings import CorpusSettings, DuplicateSettings, PathSettings
from orchestration.code_versions import documents_version
from orchestration.launching import JobLauncher
from orchestration.resources import SHARDS, SINGLE_RUN, SPARK_POOL, launch_job
from orchestration.sources import absolute_sources, local_folders
from quality.suites.documents import DOCUMENT_CHECKS

__all__ = ["SourceConfig", "documents", "golden_questions"]


class SourceConfig(dg.Config):
    """What to ingest."""

    sources: list[str] = Field(default=[])
    """Folders, files or addresses of documents; empty for the setting FOREBAY_CORPUS_SOURCES."""

    def names(self) -> list[str]:
        """Give the sources; paths are absolute.

        Raises:
            ConfigurationError: none is given.
        """
        configured = absolute_sources(self.sources or CorpusSettings().sources)
        if not configured:
            raise ConfigurationError(
                "no source is given; set FOREBAY_CORPUS_SOURCES, or `sources` in the launchpad, to folders or "
                "addresses."
            )
        return configured


@dg.asset(
    partitions_def=SHARDS,
    backfill_policy=SINGLE_RUN,
    code_version=documents_version(CorpusSettings(), DuplicateSettings()),
    pool=SPARK_POOL,
    kinds={"spark", "lance"},
    group_name="corpus",
    check_specs=[dg.AssetCheckSpec(name, asset="documents", blocking=True) for name in DOCUMENT_CHECKS],
)
def documents(
    context: dg.AssetExecutionContext, launcher: dg.ResourceParam[JobLauncher], config: SourceConfig
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Documents of the sources, parsed and compared with the table by content hash; rejects go to quarantine."""
    extras = {"sources": config.names()}
    yield from launch_job(context, launcher, "spark_jobs.parse_documents.main", checks=DOCUMENT_CHECKS, extras=extras)


@dg.asset(kinds={"python"}, group_name="corpus")
def golden_questions(config: SourceConfig) -> dg.MaterializeResult:
    """Questions and judgements beside a local source's documents (`queries.jsonl`, `qrels.tsv`), if any has them."""
    for folder in local_folders(config.names()):
        queries, qrels = folder / "queries.jsonl", folder / "qrels.tsv"
        if queries.is_file() and qrels.is_file():
            break
    else:
        return dg.MaterializeResult(metadata={"questions": 0, "note": "no local source has golden questions"})
    golden = GoldenQuestions.load(queries, qrels)
    target = PathSettings().data.absolute() / "golden"
    target.mkdir(parents=True, exist_ok=True)
    for path in (queries, qrels):
        shutil.copyfile(path, target / path.name)
    return dg.MaterializeResult(
        metadata={
            "questions": len(golden.queries),
            "judgements": sum(map(len, golden.qrels.values())),
            "source": str(folder),
        }
    )
