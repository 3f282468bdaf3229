"""The embedded store: Qdrant Edge shards built once with the write-ahead log off, then only read."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import numpy as np
import pyarrow as pa
import qdrant_edge as qdrant
from numpy.typing import NDArray
from qdrant_edge import (
    CountRequest,
    EdgeShard,
    Query,
    QueryBatchRequest,
    QueryRequest,
    SearchParams,
    SparseVector,
)

from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import FilterError, IndexBuildError, ReleaseError
from forebay.releases import ReleaseManifest
from forebay.settings import IndexSettings
from forebay.store.access import EVERYTHING, RESTRICTED, effective_filter
from forebay.store.ann_recall import ann_recall
from forebay.store.bm25 import DocumentFrequencies
from forebay.store.bm25_terms import QuestionTerms
from forebay.store.contract import Hit, SearchMode, SearchRequest, ShardBase, ShardRef
from forebay.store.diversity import diversify
from forebay.store.explanation import Candidate, Explanation, Round, Stopwatch
from forebay.store.filters import Filter, parse_filter
from forebay.store.fusion import Fusion
from forebay.store.neighbours import is_expanded
from forebay.store.qdrant_build import DENSE, FREQUENCIES, REDUCTION, SPARSE, fill_shard
from forebay.store.qdrant_effort import search_params
from forebay.store.qdrant_errors import as_release_error
from forebay.store.qdrant_feedback import feedback_legs
from forebay.store.qdrant_filters import needs_terms, to_qdrant_filter
from forebay.store.qdrant_hits import chunks_by_language, hit_of, records_of
from forebay.store.qdrant_legs import Legs, Ranking, Scored, rank, scored
from forebay.store.qdrant_neighbours import with_neighbours
from forebay.store.qdrant_opening import open_together
from forebay.store.query_rules import MIN_CANDIDATES, NO_RULES, QueryRules, candidates, holding_phrases, read_rules
from forebay.store.reduction import Reduction
from forebay.store.shard_files import find_intact, seal, staging_folder, verify
from forebay.store.terms import METADATA_TERMS

__all__ = ["QdrantEdgeRelease", "QdrantEdgeStore"]

# Shards, of which each is searched with the least effort.
_VERY_MANY = 1_000
# Least part of the chunks that a filter leaves for BM25 to be asked for the telling terms first.
_WIDE = 0.05


@dataclass(frozen=True)
class _Plan:
    """What is asked of the index for one request."""

    vector: NDArray[np.float32] | None
    """Of the dense leg, reduced as the index is; None: not asked."""
    terms: SparseVector | None
    """Of the BM25 leg, multiplied by their inverse document frequency; None: not asked."""
    telling: SparseVector | None
    """Those of them that the leg is asked for: all, unless its candidates are scored anew by all of them."""
    where: qdrant.Filter | None
    limit: int
    """Candidates of each leg."""
    params: SearchParams
    """How thoroughly they are looked for."""
    fusion: Fusion
    """How the legs are joined."""
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
            # As one among very many is searched, with the least effort.
            least = search_params(MIN_CANDIDATES, self._settings, _VERY_MANY)
            recall = ann_recall(settled, DENSE, least, MIN_CANDIDATES)
            settled.close()
            if held != chunks:
                raise IndexBuildError(f"shard {number} holds {held} points after {chunks} chunks were added.")
            return seal(
                staging, target, root=self._root, number=number, content=content, chunks=chunks, ann_recall10=recall
            )

    def open(self, manifest: ReleaseManifest, threads: int | None = None) -> "QdrantEdgeRelease":
        """Open a release for searching; see `VectorStore.open`.

        Args:
            manifest: The release.
            threads: Of one search, which share its shards; one for each core where it is left out.
        """
        return QdrantEdgeRelease(self._root, manifest, threads or os.cpu_count() or 1)


class QdrantEdgeRelease:
    """An opened release: every leg is asked of all shards at once, then the legs are fused."""

    def __init__(self, root: Path, manifest: ReleaseManifest, threads: int) -> None:
        self._manifest = manifest
        folders = [root / ref.path for ref in manifest.shards]
        for folder, ref in zip(folders, manifest.shards, strict=True):
            verify(folder, ref, contents=False)
        with as_release_error(manifest.release_id, "opened"):
            self._reduction = _common_reduction(folders, manifest)
            self._frequencies = DocumentFrequencies.merge(
                DocumentFrequencies.load(one / FREQUENCIES) for one in folders
            )
            self._shard = open_together(folders, min(threads, len(folders)))
            # Earlier versions of Forebay built shards without it.
            self._has_terms = METADATA_TERMS in self._shard.info().payload_schema
            # Where every chunk is for everybody, no search has to look at who may find it.
            self._is_restricted = self._count(RESTRICTED) > 0
            self._question_terms = QuestionTerms(manifest.index, self._frequencies, chunks_by_language(self._shard))

    @property
    def manifest(self) -> ReleaseManifest:
        """What was opened."""
        return self._manifest

    def search(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Answer several requests; see `OpenRelease.search`."""
        with as_release_error(self._manifest.release_id, "searched"):
            asked = self._ask([self._plan(request) for request in requests])
            found = [(plan, self._ranked(plan, legs)) for plan, legs in asked]
            return [
                self._hits(request, plan, first, (self._fed_back(plan, first) if request.feedback else None) or first)
                for request, (plan, first) in zip(requests, found, strict=True)
            ]

    def explain(self, request: SearchRequest) -> Explanation:
        """Answer one request by the steps of `search`, and tell what each of them found.

        Raises:
            FilterError: as `OpenRelease.search`.
            ReleaseError: likewise.
        """
        with as_release_error(self._manifest.release_id, "searched"):
            watch = Stopwatch()
            plan = self._plan(request)
            watch.stop("plan")
            ((plan, legs),) = self._ask([plan])
            rounds = [self._ranked(plan, legs)]
            watch.stop("legs")
            if request.feedback and (ranking := self._fed_back(plan, rounds[0])):
                rounds.append(ranking)
                watch.stop("feedback")
            hits = self._hits(request, plan, rounds[0], rounds[-1])
            watch.stop("hits")
            shown = [self._round(ranking) for ranking in rounds]
            left_out = self._left_out(request.text, plan)
            return Explanation(self._where(request), plan.rules, plan.fusion, left_out, shown, hits, watch.steps_ms)

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """Count the chunks that match a filter; see `OpenRelease.count`."""
        with as_release_error(self._manifest.release_id, "searched"):
            return self._count(parse_filter(where))

    def close(self) -> None:
        """Give back memory and files; searches under way must have ended."""
        self._shard.close()

    def _count(self, where: Filter | None) -> int:
        request = CountRequest(exact=True, filter=self._index_filter(where))
        return self._shard.count(request)

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
        share = 1.0 if where is None else self._share_of(where)
        vector = terms = None
        if request.mode != SearchMode.BM25:
            vector = request.vector if self._reduction is None else self._reduction(request.vector[None])[0]
        if request.mode != SearchMode.DENSE:
            terms = self._question_terms.read(request.text)
            terms = terms if terms.indices else None
        # They are about words, which the dense leg alone doesn't look at.
        rules = NO_RULES if request.mode == SearchMode.DENSE else read_rules(request.text)
        limit = candidates(request.top_k, rules)
        telling = terms
        is_scored_anew = request.feedback and rules.allows_feedback and vector is not None
        # The chunks that hold a phrase may be few of those that the rarest find; where a filter leaves little, reading
        # every term costs less than what it finds is worth.
        if terms is not None and is_scored_anew and not rules.phrases and share >= _WIDE:
            telling = self._frequencies.telling(terms)
        params = search_params(limit, self._manifest.index, len(self._manifest.shards), share)
        return _Plan(vector, terms, telling, where, limit, params, request.fusion, rules)

    def _share_of(self, where: qdrant.Filter) -> float:
        """Estimate which part of the chunks a filter leaves."""
        return self._shard.count(CountRequest(exact=False, filter=where)) / max(1, self._manifest.chunks)

    def _fed_back(self, plan: _Plan, found: Ranking) -> Ranking | None:
        """Order the best of a hybrid search anew, by the question moved towards its first hits.

        None where one leg had nothing to ask, nothing was found, or the question's wording is against it.
        """
        keys = [key for key, _ in found.fused[: plan.limit]]
        if plan.vector is None or plan.terms is None or not plan.rules.allows_feedback or not keys:
            return None
        legs = feedback_legs(self._shard, self._frequencies, plan.vector, plan.terms, keys)
        return rank(legs, plan.fusion, plan.rules.bm25_weight)

    def _ask(self, plans: Sequence[_Plan]) -> list[tuple[_Plan, Legs]]:
        """Ask every leg of all plans at once, and BM25 again where it found too little; gives plans as asked."""
        legs = [self._legs(plan) for plan in plans]
        queries = [query for leg in legs for query in leg.values()]
        answers = iter(self._shard.query_batch(QueryBatchRequest(queries)) if queries else ())
        found = [{name: scored(next(answers)) for name in leg} for leg in legs]
        return [self._with_all_terms(plan, leg) for plan, leg in zip(plans, found, strict=True)]

    def _with_all_terms(self, plan: _Plan, legs: Legs) -> tuple[_Plan, Legs]:
        """Ask for every term where a filter leaves too few of the chunks with the telling ones."""
        is_enough = plan.where is None or len(legs.get(SPARSE, ())) >= plan.limit
        if is_enough or plan.terms is None or plan.telling is None or not _has_more(plan.terms, plan.telling):
            return plan, legs
        (found,) = self._shard.query_batch(QueryBatchRequest([self._by_terms(plan, plan.terms)]))
        return replace(plan, telling=plan.terms), {**legs, SPARSE: scored(found)}

    def _legs(self, plan: _Plan) -> dict[str, QueryRequest]:
        legs: dict[str, QueryRequest] = {}
        if plan.vector is not None:
            legs[DENSE] = self._query(Query.Nearest(plan.vector.tolist(), using=DENSE), plan)
        if plan.telling is not None:
            legs[SPARSE] = self._by_terms(plan, plan.telling)
        return legs

    def _by_terms(self, plan: _Plan, terms: SparseVector) -> QueryRequest:
        return self._query(Query.Nearest(terms, using=SPARSE), plan)

    def _query(self, query: Query, plan: _Plan) -> QueryRequest:
        return QueryRequest(limit=plan.limit, query=query, filter=plan.where, params=plan.params)

    def _ranked(self, plan: _Plan, legs: Legs) -> Ranking:
        """Join what the legs found, and drop what lacks a quoted phrase."""
        ranking = rank(legs, plan.fusion, plan.rules.bm25_weight)
        if not plan.rules.phrases:
            return ranking
        records = records_of(self._shard, [key for key, _ in ranking.fused])
        payloads = {key: records[key].payload or {} for key, _ in ranking.fused}
        texts = {key: f"{payload['title']}\n{payload['text']}" for key, payload in payloads.items()}
        kept = set(holding_phrases(texts, plan.rules.phrases))
        return replace(ranking, fused=[(key, score) for key, score in ranking.fused if key in kept])

    def _diverse(self, request: SearchRequest, ranking: Ranking) -> Scored:
        records = records_of(self._shard, [key for key, _ in ranking.fused], with_vector=[DENSE])
        vectors = [cast("Mapping[str, Any]", records[key].vector)[DENSE] for key, _ in ranking.fused]
        scores = np.array([score for _, score in ranking.fused])
        chosen = diversify(scores, np.array(vectors, np.float32), request.top_k, request.diversity)
        return [ranking.fused[position] for position in chosen]

    def _hits(self, request: SearchRequest, plan: _Plan, first: Ranking, ranking: Ranking) -> list[Hit]:
        ranked = (self._diverse(request, ranking) if request.diversity else ranking.fused)[: request.top_k]
        keys = [key for key, _ in ranked]
        records = records_of(self._shard, keys)
        similarities = {} if plan.vector is None else self._similarities(plan.vector, keys, first)
        hits = [hit_of(key, score, similarities.get(key), records[key].payload or {}) for key, score in ranked]
        return with_neighbours(self._shard, hits, plan.where, request) if is_expanded(request) else hits

    def _similarities(self, question: NDArray[np.float32], keys: Sequence[UUID], first: Ranking) -> dict[UUID, float]:
        """Give the cosine of each chunk to the question, which the first round's dense leg knows of most of them."""
        found = dict(first.legs.get(DENSE, ()))
        others = [key for key in keys if key not in found]
        unit = question / np.linalg.norm(question)
        records = records_of(self._shard, others, with_payload=False, with_vector=[DENSE])
        for key, record in records.items():
            vector = cast("Mapping[str, Any]", record.vector)[DENSE]
            found[key] = float(np.dot(unit, vector))
        return found

    def _left_out(self, question: str, plan: _Plan) -> list[str]:
        asked, telling = (set(terms.indices) if terms else set() for terms in (plan.terms, plan.telling))
        by_word = self._question_terms.words.by_word(question)
        return [word for word, terms in by_word.items() if terms & (asked - telling)]

    def _round(self, ranking: Ranking) -> Round:
        records = records_of(self._shard, [key for leg in ranking.legs.values() for key, _ in leg])

        def candidates(scored: Scored) -> list[Candidate]:
            hits = [hit_of(key, score, None, records[key].payload or {}) for key, score in scored]
            return [Candidate(hit.chunk_id, hit.doc_id, hit.title, hit.score) for hit in hits]

        return Round({name: candidates(leg) for name, leg in ranking.legs.items()}, candidates(ranking.fused))


def _has_more(terms: SparseVector, others: SparseVector) -> bool:
    return len(terms.indices) > len(others.indices)


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
