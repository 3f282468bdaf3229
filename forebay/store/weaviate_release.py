"""A release in a Weaviate cluster, ready to be searched."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any, TypeVar

import numpy as np
from weaviate.collections import CollectionAsync
from weaviate.collections.classes.filters import FilterReturn

from forebay.errors import ReleaseError
from forebay.releases import ReleaseManifest
from forebay.store.access import EVERYTHING, Caller, effective_filter
from forebay.store.contract import Hit, SearchMode, SearchRequest, SectionPart
from forebay.store.diversity import diversify
from forebay.store.feedback import FEEDBACK_HITS, moved_vector
from forebay.store.filters import parse_filter
from forebay.store.fusion import reciprocal_rank_fusion
from forebay.store.neighbours import is_expanded, with_chunks_around
from forebay.store.query_rules import NO_RULES, QueryRules, candidates, holding_phrases, read_rules
from forebay.store.weaviate_channels import Channels, Question
from forebay.store.weaviate_filters import to_weaviate_filter
from forebay.store.weaviate_legs import Found, ask_bm25, ask_dense, merged
from forebay.store.weaviate_neighbours import ask_chunks, ask_places
from forebay.store.weaviate_tenants import asked_tenants

__all__ = ["WeaviateRelease"]

T = TypeVar("T")
# Ids and scores of chunks, best first.
_Scored = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class _Leg:
    """What one leg of a search asks: every tenant that it goes to, or the collection as a whole."""

    questions: list[Question[list[Found]]]
    is_by_words: bool


@dataclass(frozen=True)
class _Plan:
    """What is asked of the cluster for one request."""

    legs: list[_Leg]
    filters: FilterReturn | None
    limit: int
    """Candidates of each leg."""
    rules: QueryRules
    """What the question's wording asks for."""


class WeaviateRelease:
    """An opened release: a dense and a BM25 question to the cluster, fused by rank as in the embedded store.

    Every question carries what the caller may find. Where the collection has tenants, it goes to the shared one and the
    caller's own. `feedback` orders the dense leg anew only: the cluster doesn't tell what BM25 knows of its words.

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
        plans = [self._plan(request) for request in requests]
        answers = iter(self._channels.ask([one for plan in plans for leg in plan.legs for one in leg.questions]))
        found = [
            _hits(request, plan, [_found(leg, list(islice(answers, len(leg.questions))), plan) for leg in plan.legs])
            for request, plan in zip(requests, plans, strict=True)
        ]
        return [
            self._with_neighbours(request, plan, hits) if is_expanded(request) and hits else hits
            for request, plan, hits in zip(requests, plans, found, strict=True)
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

    def _plan(self, request: SearchRequest) -> _Plan:
        dim = self._manifest.embedding.dim
        if request.vector.shape != (dim,):
            raise ReleaseError(
                f"the question's vector has shape {request.vector.shape}, the release's vectors have dimension {dim}."
            )
        filters = to_weaviate_filter(effective_filter(request.where, request.caller))
        # They are about words, which the dense leg alone doesn't look at.
        rules = NO_RULES if request.mode == SearchMode.DENSE else read_rules(request.text)
        limit = candidates(request.top_k, rules)
        how = {"request": request, "filters": filters, "limit": limit}
        legs: list[_Leg] = []
        if request.mode != SearchMode.BM25:
            legs.append(_Leg(self._of_tenants(partial(ask_dense, **how), request.caller), is_by_words=False))
        # Weaviate refuses a question without words.
        if request.mode != SearchMode.DENSE and any(char.isalnum() for char in request.text):
            legs.append(_Leg(self._of_tenants(partial(ask_bm25, **how), request.caller), is_by_words=True))
        return _Plan(legs, filters, limit, rules)

    def _with_neighbours(self, request: SearchRequest, plan: _Plan, hits: list[Hit]) -> list[Hit]:
        """Add the chunks around each hit; they are inside the filter of the search, as hits are."""
        doc_ids = sorted({hit.doc_id for hit in hits})
        of_documents = partial(ask_places, doc_ids=doc_ids, filters=plan.filters)
        places = chain.from_iterable(self._channels.ask(self._of_tenants(of_documents, request.caller)))

        def read(ids: Sequence[str]) -> dict[str, SectionPart]:
            of_chunks = self._of_tenants(partial(ask_chunks, chunk_ids=ids), request.caller)
            return {chunk.chunk_id: chunk for chunk in chain.from_iterable(self._channels.ask(of_chunks))}

        return with_chunks_around(hits, request, places, read)


async def _ask_tenant(collection: CollectionAsync[Any, Any], tenant: str, question: Question[T]) -> T:
    return await question(collection.with_tenant(tenant))


async def _count(collection: CollectionAsync[Any, Any], filters: FilterReturn | None) -> int:
    counted = await collection.aggregate.over_all(filters=filters, total_count=True)
    return counted.total_count or 0


def _found(leg: _Leg, answers: Sequence[list[Found]], plan: _Plan) -> list[Found]:
    return merged(answers, plan.limit, is_by_words=leg.is_by_words)


def _hits(request: SearchRequest, plan: _Plan, legs: Sequence[Sequence[Found]]) -> list[Hit]:
    # The dense leg comes first and wins: its similarity is the cluster's own.
    chunks = {item.chunk_id: item for leg in reversed(legs) for item in leg}
    ranked = _fused(legs, plan.rules)
    if plan.rules.phrases:
        held = {key: chunks[key].properties for key, _ in ranked}
        texts = {key: f"{properties['title']}\n{properties['text']}" for key, properties in held.items()}
        kept = set(holding_phrases(texts, plan.rules.phrases))
        ranked = [(key, score) for key, score in ranked if key in kept]
    if request.feedback and len(legs) == 2 and plan.rules.allows_feedback and ranked:
        ranked = _fed_back(request, plan, [chunks[key] for key, _ in ranked[: plan.limit]], legs[1])
    if request.diversity:
        vectors = np.array([chunks[key].vector for key, _ in ranked], np.float32)
        scores = np.array([score for _, score in ranked])
        ranked = [ranked[place] for place in diversify(scores, vectors, request.top_k, request.diversity)]
    return [_hit(chunks[key], score) for key, score in ranked[: request.top_k]]


def _fed_back(request: SearchRequest, plan: _Plan, best: Sequence[Found], by_words: Sequence[Found]) -> _Scored:
    """Order the best anew, by the question moved towards the first of them; BM25's order stays as it is."""
    vectors = np.array([item.vector for item in best], np.float32)
    nearness = vectors @ moved_vector(request.vector, vectors[:FEEDBACK_HITS])
    dense = [best[place] for place in np.argsort(-nearness, kind="stable")]
    kept = {item.chunk_id for item in best}
    return _fused([dense, [item for item in by_words if item.chunk_id in kept]], plan.rules)


def _fused(legs: Sequence[Sequence[Found]], rules: QueryRules) -> _Scored:
    """Join the legs by rank, the dense one with weight 1; one alone keeps its scores."""
    if len(legs) == 1:
        return [(item.chunk_id, item.score) for item in legs[0]]
    rankings = [[item.chunk_id for item in leg] for leg in legs]
    return reciprocal_rank_fusion(rankings, weights=[1.0, rules.bm25_weight][: len(legs)])


def _hit(found: Found, score: float) -> Hit:
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
