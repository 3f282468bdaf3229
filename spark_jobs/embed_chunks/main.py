"""Bring the embeddings table up to date with the published chunks, check it, publish it.

Vectors belong to texts, not to chunks: a text that moves or stands twice is embedded once. With late chunking they
belong to a text in its window (`forebay.embedding.windows`). They are committed and published in groups, so a killed
run continues where it stopped.
"""

import math
from functools import cached_property

from pyspark.sql import DataFrame, Observation, Row, SparkSession
from pyspark.sql import functions as F

from forebay.embedding.choice import resolve_spec
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import DataError, EmbeddingError, QualityError
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings, SparkSettings
from forebay.tables import Table, chunk_table, embedding_table
from quality.suites.embeddings import EMBEDDING_CHECKS, EMBEDDING_METRICS, check_embeddings
from quality.validate import CheckOutcome
from spark_jobs.embed_chunks.transforms import observed_vectors, vectors_of
from spark_jobs.embed_chunks.windows import reading_key, whole_windows, window_vectors_of
from spark_jobs.gpu_executors import embedding_tasks, gpu_profile
from spark_jobs.lance_frames import append_lance, delete_lance_keys, read_lance, read_lance_keys
from spark_jobs.metrics import count_where
from spark_jobs.pipes import JobOrders, Reporter, run_job
from spark_jobs.progress import told_progress
from spark_jobs.session import spark_session

__all__ = ["MAX_GROUPS", "embed"]

MAX_GROUPS = 64
"""Most groups of texts that are committed one after another; each reads all pending texts once more."""


def embed(orders: JobOrders, report: Reporter) -> None:
    """Embed the texts that lack a vector and drop the vectors that no chunk needs; see the module."""
    paths, settings = PathSettings(), EmbeddingSettings()
    spec = resolve_spec(settings, paths)
    chunks, embeddings = chunk_table(paths.tables), embedding_table(paths.tables, spec)
    version = chunks.published_version()
    if version is None:
        raise DataError("there are no published chunks yet; materialize the asset `chunks` first.")
    is_there = embeddings.published_version() is not None
    embeddings.prepare(orders.run_id)
    done = f"embedded-{spec.fingerprint}"
    if is_there and chunks.tag(done) == version:
        report.unchanged(embeddings, EMBEDDING_CHECKS)
        return
    # Set again at the end: a tag of an earlier table must not vouch for this one if the job is killed.
    chunks.clear_tags("embedded-")
    before = embeddings.published_version()
    with spark_session("embed_chunks", SparkSettings(), paths) as spark, told_progress(spark, report.progress):
        report.started()
        job = _EmbedJob(spark, chunks, embeddings, spec, orders, paths)
        counts = {"embedded": job.write(settings, report)}
        counts["dropped"] = job.drop_stale() if orders.is_full else 0
        outcomes = job.check()
        report.progress(f"{counts['embedded']} texts embedded, {counts['dropped']} vectors dropped")
    report.checks(outcomes)
    report.materialization(embeddings, changed=counts, spec=spec.model_dump())
    if not all(outcome.passed for outcome in outcomes):
        embeddings.restore(before)
        raise QualityError("the embeddings failed a blocking check; the embeddings table stays as it was.")
    embeddings.publish()
    if orders.is_full:
        chunks.set_tag(done, version)


class _EmbedJob:
    """One run over the published chunks."""

    def __init__(
        self,
        spark: SparkSession,
        chunks: Table,
        embeddings: Table,
        spec: EmbeddingSpec,
        orders: JobOrders,
        paths: PathSettings,
    ) -> None:
        self._spark = spark
        self._chunks = chunks
        self._version = chunks.published_version()
        self._embeddings = embeddings
        self._spec = spec
        self._orders = orders
        self._paths = paths
        self._before = self._sides().persist()

    def write(self, settings: EmbeddingSettings, report: Reporter) -> int:
        """Embed the texts that have no vector; gives their number."""
        pending = self._before.where("is_wanted AND vectors = 0").select("text_hash")
        texts = self._texts(pending).persist()
        total, before = self._counts["pending"], self._embeddings.count()
        groups = min(math.ceil(total / settings.commit_rows), MAX_GROUPS)
        for group in range(groups):
            part = texts.where(F.pmod(F.xxhash64(reading_key()), F.lit(groups)) == group)
            self._append(self._vectors(part, pending, settings), f"embeddings {group}")
            report.progress(f"embedded {self._embeddings.count() - before} of {total} texts")
        if lacking := total - (self._embeddings.count() - before):
            known = read_lance(self._spark, self._embeddings.uri, columns=["text_hash"])
            first = texts.join(known, "text_hash", "left_anti").orderBy("text_hash").first()
            raise EmbeddingError(
                f"the model {self._spec.model!r} has no vector for {lacking} of {total} texts (not finite, or zero), "
                f"such as {first['text'][:80] if first else ''!r}; it is broken or was changed. The other vectors are "
                "kept."
            )
        return total

    def drop_stale(self) -> int:
        """Delete the vectors that no chunk needs; gives their number."""
        stale = self._before.where("NOT is_wanted").select("text_hash")
        delete_lance_keys(stale, self._counts["stale"], self._embeddings)
        return self._counts["stale"]

    def check(self) -> list[CheckOutcome]:
        """Check what was written."""
        missing = count_where(F.expr("is_wanted AND vectors = 0"), "missing")
        duplicates = count_where(F.expr("vectors > 1"), "duplicates")
        (found,) = self._sides().agg(missing, duplicates).collect()
        return check_embeddings(
            self._embeddings,
            self._chunks,
            model_folder(self._spec.model, self._paths.models),
            missing=found["missing"],
            duplicates=found["duplicates"],
            run_id=self._orders.run_id,
            docs=self._paths.quality,
        )

    @cached_property
    def _counts(self) -> Row:
        pending = count_where(F.expr("is_wanted AND vectors = 0"), "pending")
        (found,) = self._before.agg(pending, count_where(F.expr("NOT is_wanted"), "stale")).collect()
        return found

    def _sides(self) -> DataFrame:
        """Give every text hash of the chunks and the embeddings once, with the number of its vectors.

        Returns:
            Columns `text_hash`, `is_wanted` (a chunk has this text), `vectors`.
        """
        uri, where = self._chunks.uri, self._orders.where
        cut = read_lance(self._spark, uri, version=self._version, columns=["text_hash"], where=where)
        wanted = cut.select("text_hash", F.lit(1).alias("_wanted"), F.lit(0).alias("_vectors"))
        known = read_lance(self._spark, self._embeddings.uri, columns=["text_hash"])
        found = known.select("text_hash", F.lit(0).alias("_wanted"), F.lit(1).alias("_vectors"))
        sums = wanted.unionByName(found).groupBy("text_hash")
        return sums.agg((F.max("_wanted") == 1).alias("is_wanted"), F.sum("_vectors").alias("vectors"))

    def _texts(self, pending: DataFrame) -> DataFrame:
        """Select one row per distinct text that the model has to read; read once it is known which."""
        hashes = whole_windows(pending, self._before.where("is_wanted")) if self._spec.is_late else pending
        texts = read_lance_keys(self._spark, self._chunks.uri, hashes.select("text_hash"), version=self._version)
        return texts.select("text_hash", "title", "heading_path", "text").dropDuplicates(["text_hash"])

    def _vectors(self, texts: DataFrame, pending: DataFrame, settings: EmbeddingSettings) -> DataFrame:
        spark_settings = SparkSettings()
        tasks = embedding_tasks(self._spec.engine, spark_settings, self._spark.sparkContext.defaultParallelism)
        make = window_vectors_of if self._spec.is_late else vectors_of
        made = make(
            texts,
            self._spec,
            self._paths.models,
            tasks=tasks,
            batch_tokens=settings.batch_tokens,
            run_id=self._orders.run_id,
            profile=gpu_profile(spark_settings),
        )
        # Of a window that an earlier run has left a part of out, the rest has its vectors already.
        return made.join(pending, "text_hash", "left_semi") if self._spec.is_late else made

    def _append(self, rows: DataFrame, name: str) -> None:
        """Write and publish vectors.

        Raises:
            QualityError: some are broken; none of them is kept.
        """
        observation = Observation(name)
        append_lance(observed_vectors(rows, observation, self._spec.dim), self._embeddings)
        broken = {metric: observation.get[metric] for metric in EMBEDDING_METRICS if observation.get[metric]}
        if broken:
            self._embeddings.prepare()
            raise QualityError(f"the model {self._spec.model!r} made broken vectors ({broken}); none of them is kept.")
        self._embeddings.publish()


if __name__ == "__main__":
    run_job(embed)
