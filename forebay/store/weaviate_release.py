"""A release in a Weaviate cluster, ready to be searched."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from weaviate.classes.query import MetadataQuery
from weaviate.collections import CollectionAsync
from weaviate.collections.classes.filters import FilterReturn

from forebay.errors import ReleaseError
from forebay.releases import ReleaseManifest
from forebay.store.access import EVERYTHING, Caller, effective_filter
from forebay.store.contract import Hit, SearchMode, SearchRequest
from forebay.store.filters import parse_filter
from forebay.store.fusion import reciprocal_rank_fusion
from forebay.store.weaviate_channels import Channels, Question
from forebay.store.weaviate_filters import to_weaviate_filter
from forebay.store.weaviate_schema import RETURNED, SEARCHED
from forebay.store.weaviate_tenants import asked_tenants

__all__ = ["WeaviateRelease"]

# Candidates of each leg, as in the embedded store.
_MIN_CANDIDATES = 50
T = TypeVar("T")
# Name that Weaviate gives to the one vector of a collection.
_VECTOR = "default"


@dataclass(frozen=True)
class _Found:
    """A chunk that one leg found."""

    chunk_id: str
    score: float
    similarity: float | None
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class _Leg:
    """What one leg of a search asks: every tenant that it goes to, or the collection as a whole."""

    questions: list[Question[list[_Found]]]
    is_by_words: bool


class WeaviateRelease:
    """An opened release: a dense and a BM25 question to the cluster, fused by rank as in the embedded store.

    Every question carries what the caller may find. Where the collection has tenants, it goes to the shared one and the
    caller's own. `feedback`, `diversity`, `neighbours` and the question's wording (`forebay.store.query_rules`) change
    nothing here yet.

    Args:
        channels: Connections to the collection; closed with the release.
        manifest: The release.
        tenants: Tenants of the collection, which don't change once it is loaded; None where it can't have any.
    """

    def __init__(self, channels: Channels, manifest: ReleaseManifest, tenants: Collection[str] | None = None) -> None:
        self._channels = channels
        self._manifest = manifest
        self._tenants = tenants

    @property
    def manifest(self) -> ReleaseManifest:
        """What was opened."""
        return self._manifest

    def search(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Answer several requests; see `OpenRelease.search`.

        Raises:
            FilterError: a filter is not of the language, or has a range.
            ReleaseError: a vector has another dimension than the release, the cluster fails, or it isn't done in time.
        """
        asked = [self._legs(request) for request in requests]
        answers = iter(self._channels.ask([question for legs in asked for leg in legs for question in leg.questions]))
        return [
            _hits(
                request, [_merged(leg, list(islice(answers, len(leg.questions))), _candidates(request)) for leg in legs]
            )
            for request, legs in zip(requests, asked, strict=True)
        ]

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """Count the chunks that match a filter; see `OpenRelease.count`.

        Raises:
            FilterError: the filter is not of the language, or has a range.
            ReleaseError: the cluster fails.
        """
        filters = to_weaviate_filter(parse_filter(where))
        return sum(self._channels.ask(self._of_tenants(partial(_count, filters=filters), EVERYTHING)))

    def close(self) -> None:
        """Disconnect."""
        self._channels.close()

    def _of_tenants(self, question: Question[T], caller: Caller) -> list[Question[T]]:
        if self._tenants is None:
            return [question]
        names = asked_tenants(caller, self._tenants)
        return [partial(_ask_tenant, tenant=name, question=question) for name in names]

    def _legs(self, request: SearchRequest) -> list[_Leg]:
        dim = self._manifest.embedding.dim
        if request.vector.shape != (dim,):
            raise ReleaseError(
                f"the question's vector has shape {request.vector.shape}, the release's vectors have dimension {dim}."
            )
        filters = to_weaviate_filter(effective_filter(request.where, request.caller))
        legs: list[_Leg] = []
        if request.mode != SearchMode.BM25:
            dense = partial(_dense, request=request, filters=filters)
            legs.append(_Leg(self._of_tenants(dense, request.caller), is_by_words=False))
        # Weaviate refuses a question without words.
        if request.mode != SearchMode.DENSE and any(char.isalnum() for char in request.text):
            by_words = partial(_bm25, request=request, filters=filters)
            legs.append(_Leg(self._of_tenants(by_words, request.caller), is_by_words=True))
        return legs


async def _ask_tenant(collection: CollectionAsync[Any, Any], tenant: str, question: Question[T]) -> T:
    return await question(collection.with_tenant(tenant))


async def _dense(
    collection: CollectionAsync[Any, Any], request: SearchRequest, filters: FilterReturn | None
) -> list[_Found]:
    answer = await collection.query.near_vector(
        near_vector=request.vector.tolist(),
        limit=_candidates(request),
        filters=filters,
        return_metadata=MetadataQuery(distance=True),
        return_properties=list(RETURNED),
    )
    found: list[_Found] = []
    for item in answer.objects:
        similarity = 1.0 - (item.metadata.distance or 0.0)
        found.append(_Found(str(item.uuid), similarity, similarity, item.properties))
    return _ranked(found)


async def _bm25(
    collection: CollectionAsync[Any, Any], request: SearchRequest, filters: FilterReturn | None
) -> list[_Found]:
    """Ask by words; a hybrid search needs the vectors, for the similarity of what only words find."""
    is_hybrid = request.mode == SearchMode.HYBRID
    answer = await collection.query.bm25(
        query=request.text,
        query_properties=list(SEARCHED),
        limit=_candidates(request),
        filters=filters,
        include_vector=is_hybrid,
        return_metadata=MetadataQuery(score=True),
        return_properties=list(RETURNED),
    )
    found: list[_Found] = []
    for item in answer.objects:
        similarity = _cosine(request.vector, item.vector[_VECTOR]) if is_hybrid else None
        found.append(_Found(str(item.uuid), item.metadata.score or 0.0, similarity, item.properties))
    return _ranked(found)


async def _count(collection: CollectionAsync[Any, Any], filters: FilterReturn | None) -> int:
    counted = await collection.aggregate.over_all(filters=filters, total_count=True)
    return counted.total_count or 0


def _ranked(found: list[_Found]) -> list[_Found]:
    """Order by score; equal ones by id, for the shards answer in any order."""
    return sorted(found, key=lambda item: (-item.score, item.chunk_id))


def _merged(leg: _Leg, answers: Sequence[list[_Found]], limit: int) -> list[_Found]:
    """Make one ranking of what several tenants found, as long as one of theirs.

    Similarities mean the same everywhere. BM25's scores don't, for each tenant has its own document frequencies: these
    rankings are fused by rank, and where ranks are equal, the nearer vector goes first if vectors were asked for.
    """
    if len(answers) == 1:
        return answers[0]
    found = [item for answer in answers for item in answer]
    if leg.is_by_words:
        by_rank = dict(reciprocal_rank_fusion([[item.chunk_id for item in answer] for answer in answers]))
        found = [replace(item, score=by_rank[item.chunk_id]) for item in found]
    return sorted(found, key=lambda item: (-item.score, -(item.similarity or 0.0), item.chunk_id))[:limit]


def _candidates(request: SearchRequest) -> int:
    return max(request.top_k, _MIN_CANDIDATES)


def _cosine(question: NDArray[np.float32], vector: Any) -> float:
    held = np.asarray(vector, np.float32)
    return float(np.dot(question, held) / (np.linalg.norm(question) * np.linalg.norm(held)))


def _hits(request: SearchRequest, legs: Sequence[Sequence[_Found]]) -> list[Hit]:
    # The dense leg comes first and wins: its similarity is the cluster's own.
    chunks = {item.chunk_id: item for leg in reversed(legs) for item in leg}
    if len(legs) == 1:
        ranked = [(item.chunk_id, item.score) for item in legs[0]]
    else:
        ranked = reciprocal_rank_fusion([[item.chunk_id for item in leg] for leg in legs])
    return [_hit(chunks[key], score) for key, score in ranked[: request.top_k]]


def _hit(found: _Found, score: float) -> Hit:
    held = found.properties
    return Hit(
        chunk_id=found.chunk_id,
        doc_id=held["doc_id"],
        score=score,
        similarity=found.similarity,
        # A document that gives no title goes by the name of its file.
        title=held["title"] or PurePosixPath(held["uri"]).stem,
        text=held["text"],
        uri=held["uri"],
        source=held["source"],
        heading_path=held["heading_path"],
        page=int(held["page"]),
        language=held["language"],
        locations=json.loads(held["locations"]),
        start_char=int(held["start_char"]),
        end_char=int(held["end_char"]),
        text_hash=held["text_hash"],
        metadata=json.loads(held["metadata"]),
    )
