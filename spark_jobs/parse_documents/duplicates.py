"""Find documents that say the same, and choose the one of each group that is searched.

Documents that share a band are candidates; their shingles are then compared exactly, so `similarity` is no estimate.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from forebay.documents import DUPLICATES
from forebay.settings import DuplicateSettings
from spark_jobs.parse_documents.signatures import shingles_of, similarity

__all__ = ["DuplicatePair", "candidate_pairs", "duplicates_of", "similar_pairs"]


@dataclass(frozen=True)
class DuplicatePair:
    """Two documents that are alike enough."""

    one: str
    other: str
    similarity: float
    is_exact: bool


def candidate_pairs(documents: DataFrame, settings: DuplicateSettings) -> DataFrame:
    """Pair the documents that share a band, each with the first and with the one before it by id.

    Args:
        documents: Columns `doc_id`, `source`, `bands`.
        settings: Scope.

    Returns:
        Distinct columns `one`, `other`: a number of pairs that is linear in the documents, however many share a band.
    """
    scope = [F.col("source")] if settings.scope == "source" else []
    keys = [*scope, F.col("_band")]
    all_banded = documents.select("doc_id", *scope, F.explode("bands").alias("_band"))
    # Nearly all bands belong to one document: counting them is cheaper than sorting them.
    shared = all_banded.groupBy(*keys).count().where("count > 1").drop("count")
    banded = all_banded.join(shared, shared.columns, "left_semi")
    bucket = Window.partitionBy(*scope, "_band").orderBy("doc_id")
    first, last = F.first("doc_id").over(bucket), F.lag("doc_id").over(bucket)
    placed = banded.select("doc_id", first.alias("_first"), last.alias("_last"))
    partners = placed.where("_last IS NOT NULL").select(
        F.explode(F.array("_first", "_last")).alias("one"), F.col("doc_id").alias("other")
    )
    return partners.distinct()


def similar_pairs(pairs: DataFrame, documents: DataFrame, settings: DuplicateSettings) -> list[DuplicatePair]:
    """Compare the documents of every pair.

    Args:
        pairs: Columns `one`, `other`.
        documents: Columns `doc_id`, `text`.
        settings: Threshold.
    """
    texts = documents.select("doc_id", "text")
    joined = pairs.join(texts.toDF("one", "_one"), "one").join(texts.toDF("other", "_other"), "other")
    threshold = settings.threshold

    def compare(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            found = [pair for row in batch.to_pylist() if (pair := _compared(row))["similarity"] >= threshold]
            yield pa.RecordBatch.from_pylist(found, _PAIRS)

    rows = joined.mapInArrow(compare, "one string, other string, similarity double, is_exact boolean").collect()
    return [DuplicatePair(row["one"], row["other"], row["similarity"], row["is_exact"]) for row in rows]


_PAIRS = pa.schema(
    [("one", pa.string()), ("other", pa.string()), ("similarity", pa.float64()), ("is_exact", pa.bool_())]
)


def _compared(row: dict[str, str]) -> dict[str, Any]:
    one, other = shingles_of(row["_one"]), shingles_of(row["_other"])
    return {
        "one": row["one"],
        "other": row["other"],
        "similarity": similarity(one, other),
        "is_exact": one == other,
    }


def duplicates_of(pairs: Iterable[DuplicatePair], run_id: str) -> pa.Table:
    """Group documents that are alike, directly or through others; the smallest id of a group stands for it.

    Returns:
        Rows in the schema `DUPLICATES`, sorted by id.
    """
    parent: dict[str, str] = {}
    best: dict[str, tuple[float, bool]] = {}
    for pair in pairs:
        one, other = _root(parent, pair.one), _root(parent, pair.other)
        parent[max(one, other)] = min(one, other)
        for doc_id in (pair.one, pair.other):
            best[doc_id] = max(best.get(doc_id, (0.0, False)), (pair.similarity, pair.is_exact))
    rows = [
        {
            "doc_id": doc_id,
            "canonical_id": root,
            "kind": "exact" if best[doc_id][1] else "near",
            "similarity": best[doc_id][0],
            "run_id": run_id,
        }
        for doc_id in sorted(best)
        if (root := _root(parent, doc_id)) != doc_id
    ]
    return pa.Table.from_pylist(rows, DUPLICATES)


def _root(parent: dict[str, str], doc_id: str) -> str:
    root = doc_id
    while (above := parent.setdefault(root, root)) != root:
        root = above
    while parent[doc_id] != root:
        parent[doc_id], doc_id = root, parent[doc_id]
    return root
