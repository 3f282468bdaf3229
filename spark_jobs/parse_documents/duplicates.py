"""Find documents that say the same, and choose the one of each group that is searched.

Documents that share a band are candidates; their shingles are then compared exactly, so `similarity` is no estimate.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from forebay.documents import COMPARISONS, DUPLICATES
from forebay.settings import DuplicateSettings
from spark_jobs.broadcasts import broadcast_few
from spark_jobs.parse_documents.signatures import shingles_of, similarity

__all__ = ["banded_documents", "candidate_pairs", "compared_pairs", "duplicates_of", "shared_bands"]


def banded_documents(documents: DataFrame, settings: DuplicateSettings) -> DataFrame:
    """Give every document once for each of its bands.

    Args:
        documents: Columns `doc_id`, `source`, `bands`.
        settings: Scope.

    Returns:
        Columns `doc_id`, `band`, and `source` where only documents of one source are compared.
    """
    scope = ["source"] if settings.scope == "source" else []
    return documents.select("doc_id", *scope, F.explode("bands").alias("band"))


def shared_bands(banded: DataFrame) -> DataFrame:
    """Find the bands of more than one document; most belong to one, and counting them is cheaper than sorting them.

    Args:
        banded: As `banded_documents` gives it.

    Returns:
        Its columns but for `doc_id`, each band once.
    """
    keys = [name for name in banded.columns if name != "doc_id"]
    return banded.groupBy(*keys).count().where("count > 1").drop("count")


def candidate_pairs(banded: DataFrame, shared: DataFrame, n_shared: int) -> DataFrame:
    """Pair the documents that share a band, each with the first and with the one before it by id.

    Args:
        banded: As `banded_documents` gives it.
        shared: As `shared_bands` gives it.
        n_shared: Rows of it.

    Returns:
        Distinct columns `one`, `other`: a number of pairs that is linear in the documents, however many share a band.
    """
    keys = shared.columns
    banded = banded.join(broadcast_few(shared, n_shared), keys, "left_semi")
    bucket = Window.partitionBy(*keys).orderBy("doc_id")
    first, last = F.first("doc_id").over(bucket), F.lag("doc_id").over(bucket)
    placed = banded.select("doc_id", first.alias("_first"), last.alias("_last"))
    partners = placed.where("_last IS NOT NULL").select(
        F.explode(F.array("_first", "_last")).alias("one"), F.col("doc_id").alias("other")
    )
    return partners.distinct()


def compared_pairs(pairs: DataFrame, documents: DataFrame, run_id: str) -> DataFrame:
    """Compare the documents of every pair.

    Args:
        pairs: Columns `one`, `other`.
        documents: Columns `doc_id`, `text`.
        run_id: The run that compares them.

    Returns:
        Columns of `COMPARISONS`.
    """
    joined = pairs.join(documents.toDF("one", "_one"), "one").join(documents.toDF("other", "_other"), "other")

    def compare(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            found = [_compared(row) | {"run_id": run_id} for row in batch.to_pylist()]
            yield pa.RecordBatch.from_pylist(found, COMPARISONS)

    return joined.mapInArrow(compare, from_arrow_schema(COMPARISONS))


def _compared(row: dict[str, str]) -> dict[str, Any]:
    one, other = shingles_of(row["_one"]), shingles_of(row["_other"])
    return {
        "one": row["one"],
        "other": row["other"],
        "similarity": similarity(one, other),
        "is_exact": one == other,
    }


def duplicates_of(pairs: pa.Table, run_id: str) -> pa.Table:
    """Group documents that are alike, directly or through others; the smallest id of a group stands for it.

    Args:
        pairs: Columns `one`, `other`, `similarity`, `is_exact` of documents that are alike enough.
        run_id: The run.

    Returns:
        Rows in the schema `DUPLICATES`, sorted by id.
    """
    # Large: together they may have more than 2 GiB of letters.
    chunks = [*pairs["one"].chunks, *pairs["other"].chunks]
    sides = pa.chunked_array(chunks, pa.string()).cast(pa.large_string())
    ids = sides.unique().sort()
    # Codes are given in the order of first appearance, which is that of the ids.
    codes = pa.chunked_array([ids, *sides.chunks]).combine_chunks().dictionary_encode().indices.to_numpy()
    one, other = np.split(codes[len(ids) :], 2)
    graph = coo_array((np.ones(len(one), bool), (one, other)), (len(ids), len(ids)))
    _, groups = connected_components(graph, directed=False)
    # Ids are sorted, so the first of a group is its smallest.
    _, smallest = np.unique(groups, return_index=True)
    canonical = smallest[groups]
    nearest, is_exact = np.zeros(len(ids)), np.zeros(len(ids), bool)
    for side in (one, other):
        np.maximum.at(nearest, side, pairs["similarity"].to_numpy())
        np.logical_or.at(is_exact, side, pairs["is_exact"].to_numpy())
    others = np.flatnonzero(canonical != np.arange(len(ids)))
    columns = {
        "doc_id": ids.take(others).cast(pa.string()),
        "canonical_id": ids.take(canonical[others]).cast(pa.string()),
        "kind": np.where(is_exact[others], "exact", "near"),
        "similarity": nearest[others].astype(np.float32),
        "run_id": [run_id] * len(others),
    }
    return pa.table(columns, DUPLICATES)
