"""How much of what exact search finds the index of a shard finds: recall@k of approximate nearest neighbours."""

from collections.abc import Sequence
from typing import Any, cast

from qdrant_edge import (
    EdgeShard,
    QuantizationSearchParams,
    Query,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchParams,
)

__all__ = ["ann_recall"]

_QUESTIONS = 64
_K = 10
# Equal vectors are equally good; what differs by less is the arithmetic.
_EPSILON = 1e-5


def ann_recall(shard: EdgeShard, vector_name: str, params: SearchParams, candidates: int = _K) -> float | None:
    """Ask a shard for the neighbours of its own first vectors, which lie in no order, with and without its index.

    A neighbour counts as found if it is as near as the last of the true ones, as Aumueller, Bernhardsson & Faithfull,
    ANN-Benchmarks (2020) define it.

    Args:
        shard: The shard.
        vector_name: Name of its dense vectors.
        params: How it is searched for its users.
        candidates: How many it is asked for then, at least 10; the first ten count.

    Returns:
        recall@10, at most 1; None where the shard holds no other chunk to be found.
    """
    records, _ = shard.scroll(ScrollRequest(limit=_QUESTIONS, with_vector=[vector_name]))
    keys = [str(record.id) for record in records]
    vectors = [cast("dict[str, Any]", record.vector)[vector_name] for record in records]
    exact = SearchParams(exact=True, quantization=QuantizationSearchParams(ignore=True))
    true = _neighbours(shard, vector_name, keys, vectors, exact, _K)
    found = _neighbours(shard, vector_name, keys, vectors, params, candidates)
    wanted = sum(len(scores) for scores in true)
    if not wanted:
        return None
    hits = sum(
        sum(score >= scores[-1] - _EPSILON for score in others)
        for scores, others in zip(true, found, strict=True)
        if scores
    )
    return round(hits / wanted, 4)


def _neighbours(
    shard: EdgeShard, name: str, keys: Sequence[str], vectors: Sequence[list[float]], params: SearchParams, n: int
) -> list[list[float]]:
    """Give the scores of the ten nearest others of each vector, best first."""
    queries = [QueryRequest(limit=n + 1, query=Query.Nearest(vector, using=name), params=params) for vector in vectors]
    answers = shard.query_batch(QueryBatchRequest(queries)) if queries else []
    return [
        [float(point.score) for point in answer if str(point.id) != key][:_K]
        for key, answer in zip(keys, answers, strict=True)
    ]
