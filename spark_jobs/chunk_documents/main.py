"""Bring the chunk table up to date with the published documents, check it, publish it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from forebay.chunks import ChunkLimits, chunk_limits
from forebay.embedding.choice import resolve_spec
from forebay.errors import DataError, QualityError
from forebay.models import folder_checksum, model_folder
from forebay.settings import ChunkSettings, CorpusSettings, EmbeddingSettings, PathSettings, SparkSettings
from forebay.tables import Table, chunk_table, document_table, duplicate_table
from quality.suites.chunks import CHUNK_CHECKS, CHUNK_METRICS, check_chunks
from quality.validate import CheckOutcome
from spark_jobs.broadcasts import broadcast_few
from spark_jobs.chunk_documents.chunker import chunker_fingerprint
from spark_jobs.chunk_documents.transforms import chunks_of, document_changes, searchable_documents
from spark_jobs.lance_frames import append_lance, read_lance, read_lance_keys
from spark_jobs.metrics import count_where, counted_changes, delete_outdated, duplicate_keys
from spark_jobs.pipes import JobOrders, Reporter, run_job
from spark_jobs.progress import told_progress
from spark_jobs.session import spark_session
from spark_jobs.side_by_side import side_by_side

__all__ = ["chunk"]

# Of fewer, a task's start costs more than it saves, and each leaves a fragment.
_TASK_DOCUMENTS = 100
_HISTOGRAM_BARS = 10


def chunk(orders: JobOrders, report: Reporter) -> None:
    """Cut the documents that are new or changed; see the module."""
    paths = PathSettings()
    spec = resolve_spec(EmbeddingSettings(), paths)
    limits = chunk_limits(ChunkSettings(), spec.max_tokens, is_late=spec.is_late)
    model = model_folder(spec.model, paths.models)
    # The model counts the tokens whichever engine embeds: another engine cuts nothing again.
    chunker = chunker_fingerprint(limits, folder_checksum(model))
    cutting = _Cutting(model, limits, chunker)
    documents, duplicates = document_table(paths.tables), duplicate_table(paths.tables)
    chunks = chunk_table(paths.tables)
    version = documents.published_version()
    if version is None:
        raise DataError("there are no published documents yet; materialize the asset `documents` first.")
    is_there = chunks.published_version() is not None
    chunks.prepare(orders.run_id)
    # Which duplicates are left out decides about the chunks, too.
    done = f"chunked-{chunker}-{duplicates.published_version()}"
    if is_there and documents.tag(done) == version:
        report.unchanged(chunks, CHUNK_CHECKS)
        return
    # Set again at the end: a tag of an earlier table must not vouch for this one if the job is killed.
    documents.clear_tags("chunked-")
    with spark_session("chunk_documents", SparkSettings(), paths) as spark, told_progress(spark, report.progress):
        report.started()
        job = _ChunkJob(spark, documents, duplicates, chunks, orders, cutting)
        counts, metrics = job.write(spec.max_tokens)
        outcomes = job.check(metrics, paths, spec.max_tokens)
        report.progress(", ".join(f"{count} documents {name}" for name, count in counts.items()))
        report.checks(outcomes)
        report.materialization(chunks, changed=counts, tokens_per_chunk=job.token_histogram(spec.max_tokens))
    if not all(outcome.passed for outcome in outcomes):
        chunks.prepare()
        raise QualityError("the chunks failed a blocking check; the chunk table stays as it was.")
    chunks.publish()
    if orders.is_full:
        documents.set_tag(done, version)


@dataclass(frozen=True)
class _Cutting:
    """How documents are cut."""

    model: Path
    limits: ChunkLimits
    fingerprint: str


class _ChunkJob:
    """One run over the published documents."""

    def __init__(
        self,
        spark: SparkSession,
        documents: Table,
        duplicates: Table,
        chunks: Table,
        orders: JobOrders,
        cutting: _Cutting,
    ) -> None:
        self._spark = spark
        self._documents = documents
        self._version = documents.published_version()
        self._chunks = chunks
        self._orders = orders
        self._cutting = cutting
        names = ["doc_id", "canonical_id"]
        self._n_duplicates = duplicates.published_rows()
        self._duplicates = read_lance(
            spark, duplicates.uri, version=duplicates.published_version(), columns=names
        ).persist()

    def write(self, max_tokens: int) -> tuple[dict[str, int], dict[str, int]]:
        """Replace the chunks of changed documents; gives counts of documents by change, and `CHUNK_METRICS`."""
        diff = self._changes().persist()
        counts = counted_changes(diff)
        delete_outdated(diff, counts, self._chunks)
        metrics: dict[str, int] = {name: 0 for name in CHUNK_METRICS}
        if n_documents := counts["new"] + counts["changed"]:
            observation = Observation("chunks")
            rows = self._cut(diff.where("change IN ('new', 'changed')").select("doc_id"), n_documents)
            append_lance(_observed(rows, observation, max_tokens), self._chunks)
            metrics = {name: int(observation.get[name]) for name in CHUNK_METRICS}
        return {name: counts[name] for name in ("new", "changed", "unchanged", "deleted")}, metrics

    def check(self, metrics: dict[str, int], paths: PathSettings, max_tokens: int) -> list[CheckOutcome]:
        """Check what was written."""
        where = self._orders.where
        keys = read_lance(self._spark, self._chunks.uri, columns=["chunk_id", "doc_id"], where=where).persist()
        duplicates = broadcast_few(self._duplicates, self._n_duplicates)
        known = self._read(["doc_id"]).join(duplicates, "doc_id", "left_anti")
        cut = broadcast_few(keys, self._chunks.count())
        duplicate_ids, documents_without_chunks = side_by_side(
            lambda: duplicate_keys(keys, "chunk_id"), known.join(cut, "doc_id", "left_anti").count
        )
        return check_chunks(
            self._chunks,
            metrics,
            duplicate_ids=duplicate_ids,
            documents_without_chunks=documents_without_chunks,
            run_id=self._orders.run_id,
            max_tokens=max_tokens,
            docs=paths.quality,
        )

    def token_histogram(self, max_tokens: int) -> dict[str, int]:
        """Count the chunks of the table by length: `{"1-25": ..., "26-50": ..., ...}`."""
        width = max(1, max_tokens // _HISTOGRAM_BARS)
        bars = Counter[int]()
        for batch in self._chunks.newest().scanner(columns=["n_tokens"]).to_batches():
            counts = np.bincount(np.maximum(batch.column("n_tokens").to_numpy() - 1, 0) // width)
            bars.update({bar: int(counts[bar]) for bar in np.flatnonzero(counts).tolist()})
        return {f"{bar * width + 1}-{(bar + 1) * width}": count for bar, count in sorted(bars.items())}

    def _read(self, columns: list[str]) -> DataFrame:
        uri, where = self._documents.uri, self._orders.where
        return read_lance(self._spark, uri, version=self._version, columns=columns, where=where)

    def _changes(self) -> DataFrame:
        cut = read_lance(
            self._spark, self._chunks.uri, columns=["doc_id", "doc_hash", "chunker"], where=self._orders.where
        )
        return document_changes(
            self._searchable(self._read(["doc_id", "content_hash"])), cut, self._cutting.fingerprint
        )

    def _searchable(self, documents: DataFrame) -> DataFrame:
        places = read_lance(
            self._spark, self._documents.uri, version=self._version, columns=["doc_id", "source", "uri"]
        )
        return searchable_documents(documents, places, self._duplicates, n_duplicates=self._n_duplicates)

    def _cut(self, doc_ids: DataFrame, n_documents: int) -> DataFrame:
        rows = read_lance_keys(self._spark, self._documents.uri, doc_ids, version=self._version)
        cores = self._spark.sparkContext.defaultParallelism
        return chunks_of(
            self._searchable(rows).repartition(min(cores * 4, max(cores, n_documents // _TASK_DOCUMENTS))),
            corpus=CorpusSettings().name,
            model=self._cutting.model,
            limits=self._cutting.limits,
            chunker=self._cutting.fingerprint,
            run_id=self._orders.run_id,
        )


def _observed(rows: DataFrame, observation: Observation, max_tokens: int) -> DataFrame:
    return rows.observe(
        observation,
        count_where(F.length(F.trim("text")) == 0, "blank_chunks"),
        count_where(F.col("n_tokens") > max_tokens, "chunks_over_budget"),
        count_where(F.col("end_char") <= F.col("start_char"), "chunks_without_place"),
    )


if __name__ == "__main__":
    run_job(chunk)
