"""A release in a Weaviate cluster, ready to be searched."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any, TypeVar

import numpy as np
from weaviate.collections import CollectionAsync
from weaviate.collections.classes.filters import FilterReturn

from forebay.errors import FilterError, ReleaseError
from forebay.releases import ReleaseManifest
from forebay.store.access import EVERYTHING, Caller, effective_filter
from forebay.store.contract import Hit, SearchMode, SearchRequest, SectionPart
from forebay.store.diversity import diversify
from forebay.store.explanation import Candidate, Explanation, Round, Stopwatch
from forebay.store.feedback import FEEDBACK_HITS, moved_vector
from forebay.store.filters import Filter, parse_filter
from forebay.store.fusion import Fusion, fuse
from forebay.store.neighbours import is_expanded, with_chunks_around
from forebay.store.query_rules import NO_RULES, QueryRules, candidates, holding_phrases, read_rules
from forebay.store.stems import STEMS, QuestionStems
from forebay.store.weaviate_channels import Channels, Question
from forebay.store.weaviate_filters import has_range, to_weaviate_filter
from forebay.store.weaviate_legs import Found, ask_bm25, ask_dense, merged
from forebay.store.weaviate_neighbours import ask_chunks, find_places
from forebay.store.weaviate_schema import WRITTEN
from forebay.store.weaviate_tenants import asked_tenants

__all__ = ["WeaviateRelease"]

T = TypeVar("T")
# Ids and scores of chunks, best first.
_Scored = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class _Plan:
    """What is asked of the cluster for one request."""

    where: Filter | None
    """What the search is restricted to."""
    filters: FilterReturn | None
    """The same, as the cluster takes it."""
    legs: Mapping[str, Sequence[Question[list[Found]]]]
    """What each leg asks, by its name: every tenant that it goes to, or the collection as a whole."""
    limit: int
    """Candidates of each leg."""
    rules: QueryRules
    """What the question's wording asks for."""
    fusion: Fusion
    """How the legs are joined."""


@dataclass(frozen=True)
class _Ranking:
    """What one round of a search found."""

    legs: Mapping[str, Sequence[Found]]
    """What each leg found, by its name, best first; the dense one comes first."""
    fused: _Scored
    """The legs' rankings joined; what lacks a quoted phrase is gone."""


@dataclass(frozen=True)
class _Answer:
    """The way of one request from its plan to its hits."""

    plan: _Plan
    rounds: Sequence[_Ranking]
    """The question as it was asked; where feedback was used, also the question moved towards its first hits."""
    hits: list[Hit]


class WeaviateRelease:
    """An opened release: a dense and a BM25 question to the cluster, fused as in the embedded store.

    Every question carries what the caller may find. Where the collection has tenants, it goes to the shared one and the
    caller's own. `feedback` orders the dense leg anew only: the cluster doesn't tell what BM25 knows of its words.

    Args:
        channels: Connections to the collection; closed with the release.
        manifest: The release.
        tenants: Tenants of the collection, which don't change once it is loaded; None where it can't have any.
        stems: Reads questions; None where it has no stems, which earlier versions of Forebay didn't load.
        has_ranges: Whether it has the terms of ranges, likewise.
    """

    def __init__(
        self,
        channels: Channels,
        manifest: ReleaseManifest,
        tenants: Collection[str] | None,
        stems: QuestionStems | None,
        *,
        has_ranges: bool,
    ) -> None:
        self._channels = channels
        self._manifest = manifest
        self._tenants = tenants
        self._stems = stems
        self._has_ranges = has_ranges

    @property
    def manifest(self) -> ReleaseManifest:
        """What was opened."""
        return self._manifest

    def search(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Answer several requests; see `OpenRelease.search`.

        Raises:
            FilterError: a filter is not of the language, or its ranges are too many or not loaded.
            ReleaseError: a vector has another dimension than the release, the cluster fails, or it isn't done in time.
        """
        return [answer.hits for answer in self._answers(requests, Stopwatch())]

    def explain(self, request: SearchRequest) -> Explanation:
        """Answer one request as `search` does, and tell how; BM25 leaves no words out here.

        Raises:
            FilterError: as `search`.
            ReleaseError: likewise.
        """
        watch = Stopwatch()
        (answer,) = self._answers([request], watch)
        rounds = [_round(ranking) for ranking in answer.rounds]
        plan = answer.plan
        return Explanation(plan.where, plan.rules, plan.fusion, (), rounds, answer.hits, watch.steps_ms)

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """Count the chunks that match a filter; see `OpenRelease.count`.

        Raises:
            FilterError: as `search`.
            ReleaseError: the cluster fails.
        """
        filters = self._index_filter(parse_filter(where))
        (counts,) = self._ask([partial(_count, filters=filters)], EVERYTHING)
        return sum(counts)

    def close(self) -> None:
        """Disconnect."""
        self._channels.close()

    def _answers(self, requests: Sequence[SearchRequest], watch: Stopwatch) -> list[_Answer]:
        plans = [self._plan(request) for request in requests]
        watch.stop("plan")
        questions = [one for plan in plans for leg in plan.legs.values() for one in leg]
        answers = iter(self._channels.ask(questions))
        rounds = [[_ranked(plan, answers)] for plan in plans]
        watch.stop("legs")
        for request, plan, found in zip(requests, plans, rounds, strict=True):
            found += _fed_back(request, plan, found[0])
        if any(len(found) > 1 for found in rounds):
            watch.stop("feedback")
        hits = [self._hits(*parts) for parts in zip(requests, plans, rounds, strict=True)]
        watch.stop("hits")
        return [_Answer(*parts) for parts in zip(plans, rounds, hits, strict=True)]

    def _index_filter(self, where: Filter | None) -> FilterReturn | None:
        if not self._has_ranges and where is not None and has_range(where):
            raise FilterError(
                f"the release {self._manifest.release_id} was loaded by an earlier version of Forebay and can't be "
                "filtered by ranges; run `ingest_job`, which loads it again, or list the values."
            )
        return to_weaviate_filter(where)

    def _ask(self, questions: Sequence[Question[T]], caller: Caller) -> list[list[T]]:
        """Put each question to every tenant that the caller may ask; gives the answers to each."""
        asked = [self._of_tenants(question, caller) for question in questions]
        answers = iter(self._channels.ask([*chain.from_iterable(asked)]))
        return [[*islice(answers, len(of_one))] for of_one in asked]

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
        where = effective_filter(request.where, request.caller)
        filters = self._index_filter(where)
        # They are about words, which the dense leg alone doesn't look at.
        rules = NO_RULES if request.mode == SearchMode.DENSE else read_rules(request.text)
        limit = candidates(request.top_k, rules)
        how = {"request": request, "filters": filters, "limit": limit}
        legs: dict[str, list[Question[list[Found]]]] = {}
        if request.mode != SearchMode.BM25:
            legs[SearchMode.DENSE] = self._of_tenants(partial(ask_dense, **how), request.caller)
        if request.mode != SearchMode.DENSE:
            words, properties = self._words(request.text)
            # Weaviate refuses a question without words.
            if words:
                asked = partial(ask_bm25, **how, words=words, properties=properties)
                legs[SearchMode.BM25] = self._of_tenants(asked, request.caller)
        return _Plan(where, filters, legs, limit, rules, request.fusion)

    def _words(self, question: str) -> tuple[str, Sequence[str]]:
        """Say for which words BM25 is asked, and in which properties."""
        if self._stems is not None:
            return self._stems.read(question), (STEMS,)
        return question if any(char.isalnum() for char in question) else "", WRITTEN

    def _hits(self, request: SearchRequest, plan: _Plan, rounds: Sequence[_Ranking]) -> list[Hit]:
        chunks, ranked = _chunks(rounds[0]), rounds[-1].fused
        if request.diversity:
            vectors = np.array([chunks[key].vector for key, _ in ranked], np.float32)
            scores = np.array([score for _, score in ranked])
            ranked = [ranked[place] for place in diversify(scores, vectors, request.top_k, request.diversity)]
        hits = [_hit(chunks[key], score) for key, score in ranked[: request.top_k]]
        return self._with_neighbours(request, plan, hits) if is_expanded(request) and hits else hits

    def _with_neighbours(self, request: SearchRequest, plan: _Plan, hits: list[Hit]) -> list[Hit]:
        """Add the chunks around each hit; they are inside the filter of the search, as hits are."""

        def ask(questions: Sequence[Question[T]]) -> list[list[T]]:
            return self._ask(questions, request.caller)

        def read(ids: Sequence[str]) -> dict[str, SectionPart]:
            (answers,) = ask([partial(ask_chunks, chunk_ids=ids)])
            return {chunk.chunk_id: chunk for chunk in chain.from_iterable(answers)}

        places = find_places(sorted({hit.doc_id for hit in hits}), plan.filters, ask)
        return with_chunks_around(hits, request, places, read)


async def _ask_tenant(collection: CollectionAsync[Any, Any], tenant: str, question: Question[T]) -> T:
    return await question(collection.with_tenant(tenant))


async def _count(collection: CollectionAsync[Any, Any], filters: FilterReturn | None) -> int:
    counted = await collection.aggregate.over_all(filters=filters, total_count=True)
    return counted.total_count or 0


def _ranked(plan: _Plan, answers: Iterator[list[Found]]) -> _Ranking:
    """Take a plan's answers, join what the legs found, and drop what lacks a quoted phrase."""
    legs = {
        name: merged(list(islice(answers, len(asked))), plan.limit, is_by_words=name == SearchMode.BM25)
        for name, asked in plan.legs.items()
    }
    ranking = _Ranking(legs, _fused(legs, plan))
    if not plan.rules.phrases:
        return ranking
    held = {key: found.properties for key, found in _chunks(ranking).items()}
    texts = {key: f"{held[key]['title']}\n{held[key]['text']}" for key, _ in ranking.fused}
    kept = set(holding_phrases(texts, plan.rules.phrases))
    return replace(ranking, fused=[(key, score) for key, score in ranking.fused if key in kept])


def _fed_back(request: SearchRequest, plan: _Plan, found: _Ranking) -> list[_Ranking]:
    """Order the best anew, by the question moved towards the first of them; BM25's scores stay as they are.

    Nothing where no feedback is wanted, one leg wasn't asked, nothing was found, or the wording is against it.
    """
    if not request.feedback or len(found.legs) < 2 or not plan.rules.allows_feedback or not found.fused:
        return []
    chunks = _chunks(found)
    best = [chunks[key] for key, _ in found.fused[: plan.limit]]
    vectors = np.array([item.vector for item in best], np.float32)
    nearness = vectors @ moved_vector(request.vector, vectors[:FEEDBACK_HITS])
    dense = [replace(best[place], score=float(nearness[place])) for place in np.argsort(-nearness, kind="stable")]
    kept = {item.chunk_id for item in best}
    by_words = [item for item in found.legs[SearchMode.BM25] if item.chunk_id in kept]
    legs: dict[str, list[Found]] = {SearchMode.DENSE: dense, SearchMode.BM25: by_words}
    return [_Ranking(legs, _fused(legs, plan))]


def _chunks(ranking: _Ranking) -> dict[str, Found]:
    """Give the chunks of a ranking by their ids; the dense leg's win, for its similarity is the cluster's own."""
    return {item.chunk_id: item for leg in reversed([*ranking.legs.values()]) for item in leg}


def _fused(legs: Mapping[str, Sequence[Found]], plan: _Plan) -> _Scored:
    """Join the legs, the dense one of which comes first; one alone keeps its scores."""
    scored = [[(item.chunk_id, item.score) for item in leg] for leg in legs.values()]
    return fuse(scored, plan.fusion, plan.rules.bm25_weight)


def _hit(found: Found, score: float) -> Hit:
    held = found.properties
    return Hit(
        chunk_id=found.chunk_id,
        doc_id=held["doc_id"],
        score=score,
        similarity=found.similarity,
        title=_title(held),
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


def _title(held: Mapping[str, Any]) -> str:
    # A document that gives no title goes by the name of its file.
    return held["title"] or PurePosixPath(held["uri"]).stem


def _round(ranking: _Ranking) -> Round:
    """Tell of a ranking."""
    chunks = _chunks(ranking)

    def candidate(key: str, score: float) -> Candidate:
        held = chunks[key].properties
        return Candidate(key, held["doc_id"], _title(held), score)

    legs = {name: [candidate(item.chunk_id, item.score) for item in leg] for name, leg in ranking.legs.items()}
    return Round(legs, [candidate(*scored) for scored in ranking.fused])
