"""The questions that a search asks a Weaviate collection, and what they find."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from weaviate.classes.query import MetadataQuery
from weaviate.collections import CollectionAsync
from weaviate.collections.classes.filters import FilterReturn

from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.fusion import reciprocal_rank_fusion
from forebay.store.weaviate_schema import RETURNED

__all__ = ["Found", "ask_bm25", "ask_dense", "merged"]

T = TypeVar("T")
# Name that Weaviate gives to the one vector of a collection.
_VECTOR = "default"


@dataclass(frozen=True)
class Found:
    """A chunk that one leg found."""

    chunk_id: str
    score: float
    """The leg's own; higher is nearer."""
    similarity: float | None
    """Cosine to the question; None where only words were asked for."""
    properties: Mapping[str, Any]
    """`RETURNED`."""
    vector: NDArray[np.float32] | None
    """(dim,) float32, where diverse hits or feedback are wanted."""


async def ask_dense(
    collection: CollectionAsync[Any, Any], request: SearchRequest, filters: FilterReturn | None, limit: int
) -> list[Found]:
    """Ask for the nearest vectors."""
    answer = await collection.query.near_vector(
        near_vector=request.vector.tolist(),
        limit=limit,
        filters=filters,
        include_vector=request.diversity > 0 or _is_fed_back(request),
        return_metadata=MetadataQuery(distance=True),
        return_properties=list(RETURNED),
    )
    found: list[Found] = []
    for item in answer.objects:
        similarity = 1.0 - (item.metadata.distance or 0.0)
        found.append(Found(str(item.uuid), similarity, similarity, item.properties, _vector(item)))
    return _ranked(found)


async def ask_bm25(
    collection: CollectionAsync[Any, Any],
    request: SearchRequest,
    filters: FilterReturn | None,
    limit: int,
    *,
    words: str,
    properties: Sequence[str],
) -> list[Found]:
    """Ask properties by words; a hybrid search needs the vectors, for the similarity of what only words find."""
    is_hybrid = request.mode == SearchMode.HYBRID
    answer = await collection.query.bm25(
        query=words,
        query_properties=list(properties),
        limit=limit,
        filters=filters,
        include_vector=is_hybrid or request.diversity > 0,
        return_metadata=MetadataQuery(score=True),
        return_properties=list(RETURNED),
    )
    found: list[Found] = []
    for item in answer.objects:
        vector = _vector(item)
        similarity = _cosine(request.vector, vector) if is_hybrid and vector is not None else None
        found.append(Found(str(item.uuid), item.metadata.score or 0.0, similarity, item.properties, vector))
    return _ranked(found)


def merged(answers: Sequence[list[Found]], limit: int, *, is_by_words: bool) -> list[Found]:
    """Make one ranking of what several tenants found, as long as one of theirs.

    Similarities mean the same everywhere. BM25's scores don't, for each tenant has its own document frequencies: these
    rankings are fused by rank, and where ranks are equal, the nearer vector goes first if vectors were asked for.
    """
    if len(answers) == 1:
        return answers[0]
    found = [item for answer in answers for item in answer]
    if is_by_words:
        by_rank = dict(reciprocal_rank_fusion([[item.chunk_id for item in answer] for answer in answers]))
        found = [replace(item, score=by_rank[item.chunk_id]) for item in found]
    return sorted(found, key=lambda item: (-item.score, -(item.similarity or 0.0), item.chunk_id))[:limit]


def _is_fed_back(request: SearchRequest) -> bool:
    return request.feedback and request.mode == SearchMode.HYBRID


def _ranked(found: list[Found]) -> list[Found]:
    """Order by score; equal ones by id, for the shards answer in any order."""
    return sorted(found, key=lambda item: (-item.score, item.chunk_id))


def _vector(item: Any) -> NDArray[np.float32] | None:
    return np.asarray(item.vector[_VECTOR], np.float32) if item.vector else None


def _cosine(question: NDArray[np.float32], held: NDArray[np.float32]) -> float:
    return float(np.dot(question, held) / (np.linalg.norm(question) * np.linalg.norm(held)))
