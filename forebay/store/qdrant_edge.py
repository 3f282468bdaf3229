"""The embedded store: Qdrant Edge shards built once with the write-ahead log off, then only read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, cast
from uuid import UUID

import numpy as np
import pyarrow as pa
import qdrant_edge as qdrant
from numpy.typing import NDArray
from qdrant_edge import (
    CountRequest,
    EdgeShard,
    FieldCondition,
    MatchAny,
    QuantizationSearchParams,
    Query,
    QueryBatchRequest,
    QueryRequest,
    Record,
    ScoredPoint,
    ScrollRequest,
    SearchParams,
    SparseVector,
)

from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import FilterError, IndexBuildError, ReleaseError
from forebay.releases import ReleaseManifest
from forebay.settings import IndexSettings
from forebay.store.access import EVERYTHING, RESTRICTED, effective_filter
from forebay.store.ann_recall import ann_recall
from forebay.store.bm25 import DocumentFrequencies, bm25_model
from forebay.store.contract import Hit, SearchMode, SearchRequest, ShardBase, ShardRef
from forebay.store.diversity import diversify
from forebay.store.explanation import Candidate, Explanation, Round, Stopwatch
from forebay.store.feedback import FEEDBACK_HITS, expanded_terms, moved_vector
from forebay.store.filters import Filter, parse_filter
from forebay.store.fusion import reciprocal_rank_fusion
from forebay.store.qdrant_build import DENSE, FREQUENCIES, REDUCTION, SPARSE, fill_shard, terms_of
from forebay.store.qdrant_filters import needs_terms, to_qdrant_filter
from forebay.store.query_rules import NO_RULES, QueryRules, holding_phrases, read_rules
from forebay.store.reduction import Reduction
from forebay.store.shard_files import find_intact, seal, staging_folder, verify
from forebay.store.terms import METADATA_TERMS

__all__ = ["QdrantEdgeRelease", "QdrantEdgeStore"]

# Candidates of each leg: enough that fusion sees past the wanted hits.
_MIN_CANDIDATES = 50
# Of a question with a quoted phrase, whose words may be common: most candidates are dropped for lacking it.
_PHRASE_CANDIDATES = 200
# Candidates by the quantized vectors that the original ones rescore, for one that is wanted (`make bench-vectors`).
_OVERSAMPLING = {"int8": 2.0, "binary": 6.0, "product": 4.0, "none": 1.0}
# Qdrant adds up a BM25 score in any order, so the same score differs in its last bits from one search to the next.
_EQUAL = 1e-5

PointId = int | UUID | str
ShardAnswers = Sequence[Sequence[ScoredPoint]]
"""What one leg found in each shard."""
Legs = Mapping[str, ShardAnswers]
"""What each leg found."""


@dataclass(frozen=True)
class _Plan:
    """What is asked of the index for one request."""

    vector: NDArray[np.float32] | None
    """Of the dense leg, reduced as the index is; None: not asked."""
    terms: SparseVector | None
    """Of the BM25 leg, multiplied by their inverse document frequency; None: not asked."""
    where: qdrant.Filter | None
    limit: int
    """Candidates of each leg."""
    rules: QueryRules = NO_RULES
    """What the question's wording asks for."""


class QdrantEdgeStore:
    """Builds and opens shards under one folder (see `forebay.store.contract.VectorStore`)."""

    def __init__(
        self, root: Path, spec: EmbeddingSpec, settings: IndexSettings, reduction: Reduction | None = None
    ) -> None:
        self._root = root
        self._spec = spec
        self._settings = settings
        self._reduction = reduction

    def shard_folder(self, number: int, content: str) -> str:
        """Name the place of a shard: the same number and content always give the same place."""
        return f"s{number:03d}/{content}"

    def find_shard(self, number: int, content: str) -> ShardRef | None:
        """Look for a finished shard with this number and content."""
        return find_intact(self._root / self.shard_folder(number, content))

    def build_shard(
        self, number: int, content: str, batches: Iterable[pa.RecordBatch], base: ShardBase | None = None
    ) -> ShardRef:
        """Build a shard from chunk rows with a `vector` column; see `VectorStore.build_shard`."""
        target = self._root / self.shard_folder(number, content)
        with staging_folder(target) as staging:
            chunks = fill_shard(staging, self._root, self._spec, self._settings, batches, base, self._reduction)
            # The first load writes down settings that were left open; sealed before it, no checksum would hold.
            settled = EdgeShard.load(str(staging))
            held = settled.count(CountRequest(exact=True))
            recall = ann_recall(settled, DENSE, _search_params(_MIN_CANDIDATES, self._settings))
            settled.close()
            if held != chunks:
                raise IndexBuildError(f"shard {number} holds {held} points after {chunks} chunks were added.")
            return seal(
                staging, target, root=self._root, number=number, content=content, chunks=chunks, ann_recall10=recall
            )

    def open(self, manifest: ReleaseManifest) -> "QdrantEdgeRelease":
        """Open a release for searching; see `VectorStore.open`."""
        return QdrantEdgeRelease(self._root, manifest)


class QdrantEdgeRelease:
    """An opened release: every leg is asked of every shard, merged by score, then fused by rank."""

    def __init__(self, root: Path, manifest: ReleaseManifest) -> None:
        self._manifest = manifest
        self._shards: list[EdgeShard] = []
        for ref in manifest.shards:
            verify(root / ref.path, ref, contents=False)
        try:
            for ref in manifest.shards:
                self._shards.append(EdgeShard.load(str(root / ref.path)))
            self._reduction = _common_reduction([root / ref.path for ref in manifest.shards], manifest)
            # Earlier versions of Forebay built shards without it.
            self._has_terms = all(METADATA_TERMS in shard.info().payload_schema for shard in self._shards)
            # Where every chunk is for everybody, no search has to look at who may find it.
            self._is_restricted = self._count(RESTRICTED) > 0
            parts = [DocumentFrequencies.load(root / ref.path / FREQUENCIES) for ref in manifest.shards]
        except Exception as exc:
            self.close()
            raise ReleaseError(f"release {manifest.release_id} can't be opened: {exc}") from exc
        self._frequencies = DocumentFrequencies.merge(parts)
        self._bm25 = bm25_model(manifest.index)

    @property
    def manifest(self) -> ReleaseManifest:
        """What was opened."""
        return self._manifest

    def search(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Answer several requests; see `OpenRelease.search`."""
        plans = [self._plan(request) for request in requests]
        found = self._ask(plans)
        moved = [
            self._moved(plan, legs) if request.feedback else None
            for request, plan, legs in zip(requests, plans, found, strict=True)
        ]
        again = iter(self._ask([plan for plan in moved if plan is not None]))
        found = [legs if plan is None else next(again) for plan, legs in zip(moved, found, strict=True)]
        return [self._hits(*answer) for answer in zip(requests, plans, found, strict=True)]

    def explain(self, request: SearchRequest) -> Explanation:
        """Answer one request by the steps of `search`, and tell what each of them found.

        Raises:
            FilterError: as `OpenRelease.search`.
            ReleaseError: likewise.
        """
        watch = Stopwatch()
        plan = self._plan(request)
        watch.stop("plan")
        (found,) = self._ask([plan])
        watch.stop("legs")
        rounds = [(plan, found)]
        if request.feedback and (moved := self._moved(plan, found)):
            watch.stop("feedback")
            (found,) = self._ask([moved])
            watch.stop("legs again")
            rounds.append((moved, found))
        hits = self._hits(request, plan, found)
        watch.stop("hits")
        shown = [self._round(*asked) for asked in rounds]
        return Explanation(self._where(request), plan.rules, shown, hits, watch.steps_ms)

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """Count the chunks that match a filter; see `OpenRelease.count`."""
        return self._count(parse_filter(where))

    def close(self) -> None:
        """Give back memory and files; searches under way must have ended."""
        while self._shards:
            self._shards.pop().close()

    def _count(self, where: Filter | None) -> int:
        request = CountRequest(exact=True, filter=self._index_filter(where))
        return sum(shard.count(request) for shard in self._shards)

    def _index_filter(self, where: Filter | None) -> qdrant.Filter | None:
        if not self._has_terms and where is not None and needs_terms(where):
            raise FilterError(
                f"the release {self._manifest.release_id} was built by an earlier version of Forebay and can't be "
                "filtered by metadata; build the index again."
            )
        return to_qdrant_filter(where)

    def _where(self, request: SearchRequest) -> Filter | None:
        return effective_filter(request.where, request.caller if self._is_restricted else EVERYTHING)

    def _plan(self, request: SearchRequest) -> _Plan:
        if request.vector.shape != (self._manifest.embedding.dim,):
            raise ReleaseError(
                f"the question's vector has shape {request.vector.shape}, the release's vectors have dimension "
                f"{self._manifest.embedding.dim}."
            )
        where = self._index_filter(self._where(request))
        vector = terms = None
        if request.mode != SearchMode.BM25:
            vector = request.vector if self._reduction is None else self._reduction(request.vector[None])[0]
        if request.mode != SearchMode.DENSE:
            terms = self._frequencies.weigh(self._bm25.embed_query(request.text))
        # They are about words, which the dense leg alone doesn't look at.
        rules = NO_RULES if request.mode == SearchMode.DENSE else read_rules(request.text)
        limit = max(request.top_k, _PHRASE_CANDIDATES if rules.phrases else _MIN_CANDIDATES)
        return _Plan(vector, terms if terms and terms.indices else None, where, limit, rules)

    def _moved(self, plan: _Plan, legs: Legs) -> _Plan | None:
        """Plan the second round of a hybrid search.

        None where one leg has nothing to ask, nothing was found, or the question's wording is against it.
        """
        if plan.vector is None or plan.terms is None or not plan.rules.allows_feedback:
            return None
        ranked, shard_of = self._ranked(plan, legs)
        first = [key for key, _ in ranked[:FEEDBACK_HITS]]
        if not first:
            return None
        records = self._records(first, shard_of, with_vector=True)
        # In the order of the ranking: sums in another order differ in their last bits, and turn near ties around.
        vectors = [cast("Mapping[str, Any]", records[key].vector) for key in first]
        found = np.asarray([vector[DENSE] for vector in vectors], np.float32)
        terms = expanded_terms(plan.terms, [self._frequencies.weigh(terms_of(vector)) for vector in vectors])
        return replace(plan, vector=moved_vector(plan.vector, found), terms=terms)

    def _ask(self, plans: Sequence[_Plan]) -> list[Legs]:
        """Ask every leg of every plan of every shard."""
        legs = [self._legs(plan) for plan in plans]
        queries = [query for leg in legs for query in leg.values()]
        if not queries:
            return [{} for _ in plans]
        per_shard = [shard.query_batch(QueryBatchRequest(queries)) for shard in self._shards]
        per_query = zip(*per_shard, strict=True)
        return [{name: next(per_query, ()) for name in leg} for leg in legs]

    def _legs(self, plan: _Plan) -> dict[str, QueryRequest]:
        legs: dict[str, QueryRequest] = {}
        if plan.vector is not None:
            legs[DENSE] = self._query(Query.Nearest(plan.vector.tolist(), using=DENSE), plan)
        if plan.terms is not None:
            legs[SPARSE] = self._query(Query.Nearest(plan.terms, using=SPARSE), plan)
        return legs

    def _query(self, query: Query, plan: _Plan) -> QueryRequest:
        params = _search_params(plan.limit, self._manifest.index)
        return QueryRequest(limit=plan.limit, query=query, filter=plan.where, params=params)

    def _ranked(self, plan: _Plan, legs: Legs) -> tuple[list[tuple[str, float]], dict[str, int]]:
        """Fuse the legs, as `_fused` does, and drop what lacks a quoted phrase."""
        ranked, shard_of = _fused(legs, plan.limit, plan.rules.bm25_weight)
        if plan.rules.phrases:
            records = self._records([key for key, _ in ranked], shard_of, with_vector=False)
            payloads = {key: records[key].payload or {} for key, _ in ranked}
            texts = {key: f"{payload['title']}\n{payload['text']}" for key, payload in payloads.items()}
            kept = set(holding_phrases(texts, plan.rules.phrases))
            ranked = [(key, score) for key, score in ranked if key in kept]
        return ranked, shard_of

    def _diverse(
        self, request: SearchRequest, ranked: Sequence[tuple[str, float]], shard_of: Mapping[str, int]
    ) -> list[tuple[str, float]]:
        records = self._records([key for key, _ in ranked], shard_of, with_vector=[DENSE])
        vectors = [cast("Mapping[str, Any]", records[key].vector)[DENSE] for key, _ in ranked]
        scores = np.array([score for _, score in ranked])
        chosen = diversify(scores, np.array(vectors, np.float32), request.top_k, request.diversity)
        return [ranked[position] for position in chosen]

    def _hits(self, request: SearchRequest, plan: _Plan, legs: Legs) -> list[Hit]:
        ranked, shard_of = self._ranked(plan, legs)
        if request.diversity:
            ranked = self._diverse(request, ranked, shard_of)
        ranked = ranked[: request.top_k]
        records = self._records([key for key, _ in ranked], shard_of, with_vector=[DENSE])
        hits: list[Hit] = []
        for key, score in ranked:
            record = records[key]
            similarity = None
            if plan.vector is not None:
                vector = cast("Mapping[str, Any]", record.vector)[DENSE]
                similarity = float(np.dot(plan.vector, vector) / np.linalg.norm(plan.vector))
            hits.append(_hit(key, score, similarity, record.payload or {}))
        return self._with_neighbours(hits, plan.where, request.neighbours) if request.neighbours else hits

    def _with_neighbours(self, hits: Sequence[Hit], where: qdrant.Filter | None, count: int) -> list[Hit]:
        """Add the texts before and after each hit; they are inside the filter of the search, as hits are."""
        order = {doc_id: self._chunks_of(doc_id, where) for doc_id in {hit.doc_id for hit in hits}}
        around: dict[str, tuple[list[str], list[str]]] = {}
        for hit in hits:
            keys = list(order[hit.doc_id])
            at = keys.index(hit.chunk_id)
            around[hit.chunk_id] = (keys[max(0, at - count) : at], keys[at + 1 : at + 1 + count])
        shard_of = {key: number for chunks in order.values() for key, number in chunks.items()}
        wanted = {key for before, after in around.values() for key in (*before, *after)}
        records = self._records(sorted(wanted), shard_of, with_vector=False)
        texts = {key: str((record.payload or {})["text"]) for key, record in records.items()}
        return [
            replace(hit, before=[texts[key] for key in before], after=[texts[key] for key in after])
            for hit, (before, after) in zip(hits, around.values(), strict=True)
        ]

    def _chunks_of(self, doc_id: str, where: qdrant.Filter | None) -> dict[str, int]:
        """Find the chunks of a document inside a filter: the shard of each by its id, in the document's order."""
        own = FieldCondition(key="doc_id", match=MatchAny([doc_id]))
        inside = qdrant.Filter(must=[own] if where is None else [own, where])
        found: list[tuple[int, str, int]] = []
        for number, shard in enumerate(self._shards):
            limit = shard.count(CountRequest(exact=True, filter=inside))
            if limit:
                chunks, _ = shard.scroll(ScrollRequest(limit=limit, filter=inside, with_payload=["start_char"]))
                found += [((chunk.payload or {})["start_char"], str(chunk.id), number) for chunk in chunks]
        return {key: number for _, key, number in sorted(found)}

    def _round(self, plan: _Plan, legs: Legs) -> Round:
        ranked, shard_of = self._ranked(plan, legs)
        records = self._records(list(shard_of), shard_of, with_vector=False)

        def candidate(key: str, score: float) -> Candidate:
            hit = _hit(key, score, None, records[key].payload or {})
            return Candidate(key, hit.doc_id, hit.title, score)

        best = {name: _best(answers, plan.limit) for name, answers in legs.items()}
        found = {name: [candidate(key, score) for key, score, _ in leg] for name, leg in best.items()}
        return Round(found, [candidate(key, score) for key, score in ranked])

    def _records(
        self, keys: Sequence[str], shard_of: Mapping[str, int], with_vector: bool | list[str]
    ) -> dict[str, Record]:
        records: dict[str, Record] = {}
        for number, shard in enumerate(self._shards):
            wanted: list[PointId] = [key for key in keys if shard_of[key] == number]
            if wanted:
                found = shard.retrieve(wanted, with_payload=True, with_vector=with_vector)
                records |= {str(record.id): record for record in found}
        return records


def _fused(legs: Legs, limit: int, bm25_weight: float) -> tuple[list[tuple[str, float]], dict[str, int]]:
    """Merge the shards' answers of each leg and fuse the legs: (key, score) pairs, best first, and each key's shard."""
    best = [_best(answers, limit) for answers in legs.values()]
    shard_of = {key: number for leg in best for key, _, number in leg}
    if len(best) == 1:
        return [(key, score) for key, score, _ in best[0]], shard_of
    weights = [bm25_weight if name == SPARSE else 1.0 for name in legs]
    return reciprocal_rank_fusion([[key for key, _, _ in leg] for leg in best], weights=weights), shard_of


def _search_params(limit: int, settings: IndexSettings) -> SearchParams:
    quantization = QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLING[settings.quantization])
    return SearchParams(hnsw_ef=max(128, limit), quantization=quantization)


def _best(answers: ShardAnswers, limit: int) -> list[tuple[str, float, int]]:
    """Merge what the shards found: (key, score, shard number), best first, equal scores by key.

    Keys are made of the best only: Qdrant builds a UUID for each, 3 us, and the shards together find many more.
    """
    scores = sorted((point.score for answer in answers for point in answer), reverse=True)
    least = scores[min(limit, len(scores)) - 1] - _EQUAL if scores else 0.0
    found = [
        (str(point.id), float(point.score), number)
        for number, answer in enumerate(answers)
        for point in answer
        if point.score >= least
    ]
    found.sort(key=lambda item: -item[1])
    group = 0
    groups = [group := group + (before[1] - after[1] > _EQUAL) for before, after in pairwise(found)]
    ordered = sorted(zip([0, *groups], found, strict=False), key=lambda item: (item[0], item[1][0]))
    return [item for _, item in ordered[:limit]]


def _common_reduction(folders: Sequence[Path], manifest: ReleaseManifest) -> Reduction | None:
    """Read the map that the shards' vectors were reduced with."""
    if manifest.index.reduction == "none":
        return None
    first, *others = (Reduction.load(folder / REDUCTION) for folder in folders)
    if any(other.fingerprint != first.fingerprint for other in others):
        raise ReleaseError("its shards' vectors were reduced by different projections; build the index again.")
    if manifest.reduction not in ("", first.fingerprint):
        raise ReleaseError(
            f"its shards hold the projection {first.fingerprint}, its manifest names {manifest.reduction}; "
            "build the index again."
        )
    held, named = first.axes.shape, (manifest.embedding.dim, manifest.index.dimensions)
    if held != named:
        raise ReleaseError(
            f"its projection reduces {held[0]} to {held[1]} dimensions, its manifest says {named[0]} to {named[1]}."
        )
    return first


def _hit(chunk_id: str, score: float, similarity: float | None, payload: dict[str, Any]) -> Hit:
    return Hit(
        chunk_id=chunk_id,
        doc_id=payload["doc_id"],
        score=score,
        similarity=similarity,
        # A document that gives no title goes by the name of its file.
        title=payload["title"] or PurePosixPath(payload["uri"]).stem,
        text=payload["text"],
        uri=payload["uri"],
        source=payload["source"],
        heading_path=payload["heading_path"],
        page=payload["page"],
        language=payload["language"],
        locations=payload["locations"],
        start_char=payload["start_char"],
        end_char=payload["end_char"],
        text_hash=payload["text_hash"],
        metadata=payload["metadata"],
    )
