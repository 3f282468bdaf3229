"""Bring the embeddings table up to date with the published chunks, check it, publish it.

Vectors belong to texts, not to chunks: a text that moves or stands twice is embedded once. They are committed and
published in groups, so a killed run continues where it stopped.
"""

import math

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from forebay.embedding.choice import resolve_spec
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import DataError, EmbeddingError, QualityError
from forebay.settings import EmbeddingSettings, PathSettings, SparkSettings
from forebay.tables import Table, chunk_table, embedding_table
from quality.suites.embeddings import EMBEDDING_CHECKS, EMBEDDING_METRICS, check_embeddings
from quality.validate import CheckOutcome
from spark_jobs.embed_chunks.transforms import observed_vectors, vectors_of
from spark_jobs.gpu_executors import gpu_profile
from spark_jobs.lance_frames import append_lance, read_lance, read_lance_keys
from spark_jobs.metrics import count_where
from spark_jobs.pipes import JobOrders, Reporter, run_job
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
    with spark_session("embed_chunks", SparkSettings(), paths) as spark:
        report.started()
        cut = read_lance(spark, chunks.uri, version=version, columns=["text_hash"], where=orders.where)
        sides = _sides(spark, cut, embeddings).persist()
        pending = _pending_texts(spark, sides, chunks)
        counts = {"embedded": _embed(pending, embeddings, spec, settings, paths, orders, report)}
        counts["dropped"] = _drop_stale(sides, embeddings) if orders.is_full else 0
        outcomes = _check(spark, cut, embeddings, orders, paths)
    report.checks(outcomes)
    report.materialization(embeddings, changed=counts, spec=spec.model_dump())
    if not all(outcome.passed for outcome in outcomes):
        embeddings.restore(before)
        raise QualityError("the embeddings failed a blocking check; the embeddings table stays as it was.")
    embeddings.publish()
    if orders.is_full:
        chunks.set_tag(done, version)


def _sides(spark: SparkSession, chunks: DataFrame, embeddings: Table) -> DataFrame:
    """Give every text hash of the chunks and the embeddings once, with the number of its vectors.

    Returns:
        Columns `text_hash`, `is_wanted` (a chunk has this text), `vectors`.
    """
    wanted = chunks.select("text_hash", F.lit(1).alias("_wanted"), F.lit(0).alias("_vectors"))
    known = read_lance(spark, embeddings.uri, columns=["text_hash"])
    found = known.select("text_hash", F.lit(0).alias("_wanted"), F.lit(1).alias("_vectors"))
    sums = wanted.unionByName(found).groupBy("text_hash")
    return sums.agg((F.max("_wanted") == 1).alias("is_wanted"), F.sum("_vectors").alias("vectors"))


def _pending_texts(spark: SparkSession, sides: DataFrame, chunks: Table) -> DataFrame:
    """Select one row per distinct text that has no vector; the texts are read once it is known which."""
    hashes = sides.where("is_wanted AND vectors = 0").select("text_hash")
    texts = read_lance_keys(spark, chunks.uri, hashes, version=chunks.published_version())
    return texts.select("text_hash", "title", "heading_path", "text").dropDuplicates(["text_hash"]).persist()


def _embed(
    pending: DataFrame,
    embeddings: Table,
    spec: EmbeddingSpec,
    settings: EmbeddingSettings,
    paths: PathSettings,
    orders: JobOrders,
    report: Reporter,
) -> int:
    total, before = pending.count(), embeddings.count()
    groups = min(math.ceil(total / settings.commit_rows), MAX_GROUPS)
    for group in range(groups):
        texts = pending.where(F.expr(f"pmod(xxhash64(text_hash), {groups}) = {group}"))
        observation = Observation(f"embeddings {group}")
        rows = vectors_of(
            texts.repartition(pending.sparkSession.sparkContext.defaultParallelism),
            spec,
            paths.models,
            batch_tokens=settings.batch_tokens,
            run_id=orders.run_id,
            profile=gpu_profile(SparkSettings()),
        )
        append_lance(observed_vectors(rows, observation, spec.dim), embeddings.uri, orders.run_id)
        broken = {name: observation.get[name] for name in EMBEDDING_METRICS if observation.get[name]}
        if broken:
            embeddings.prepare()
            raise QualityError(f"the model {spec.model!r} made broken vectors ({broken}); none of them is kept.")
        embeddings.publish()
        report.progress(f"embedded {embeddings.count() - before} of {total} texts")
    if lacking := total - (embeddings.count() - before):
        known = read_lance(pending.sparkSession, embeddings.uri, columns=["text_hash"])
        first = pending.join(known, "text_hash", "left_anti").orderBy("text_hash").first()
        raise EmbeddingError(
            f"the model {spec.model!r} has no vector for {lacking} of {total} texts (not finite, or zero), such as "
            f"{first['text'][:80] if first else ''!r}; it is broken or was changed. The other vectors are kept."
        )
    return total


def _drop_stale(sides: DataFrame, embeddings: Table) -> int:
    stale = [row["text_hash"] for row in sides.where("NOT is_wanted").select("text_hash").collect()]
    embeddings.delete_keys("text_hash", stale)
    return len(stale)


def _check(
    spark: SparkSession, chunks: DataFrame, embeddings: Table, orders: JobOrders, paths: PathSettings
) -> list[CheckOutcome]:
    missing = count_where(F.expr("is_wanted AND vectors = 0"), "missing")
    duplicates = count_where(F.expr("vectors > 1"), "duplicates")
    (found,) = _sides(spark, chunks, embeddings).agg(missing, duplicates).collect()
    return check_embeddings(
        embeddings,
        missing=found["missing"],
        duplicates=found["duplicates"],
        run_id=orders.run_id,
        docs=paths.quality,
    )


if __name__ == "__main__":
    run_job(embed)
