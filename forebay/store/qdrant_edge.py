"""The embedded store: Qdrant Edge shards built once with the write-ahead log off, then only read."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import pyarrow as pa
import qdrant_edge as qdrant
from qdrant_edge import (
    CountRequest,
    EdgeShard,
    QuantizationSearchParams,
    Query,
    QueryBatchRequest,
    QueryRequest,
    ScoredPoint,
    SearchParams,
)

from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import FilterError, IndexBuildError, ReleaseError
from forebay.releases import ReleaseManifest
from forebay.settings import IndexSettings
from forebay.store.access import EVERYTHING, RESTRICTED, effective_filter
from forebay.store.bm25 import DocumentFrequencies, bm25_model
from forebay.store.contract import Hit, SearchMode, SearchRequest, ShardBase, ShardRef
from forebay.store.filters import Filter, parse_filter
from forebay.store.fusion import reciprocal_rank_fusion
from forebay.store.qdrant_build import DENSE, FREQUENCIES, REDUCTION, SPARSE, fill_shard
from forebay.store.qdrant_filters import needs_terms, to_qdrant_filter
from forebay.store.reduction import Reduction
from forebay.store.shard_files import find_intact, seal, staging_folder, verify
from forebay.store.terms import METADATA_TERMS

__all__ = ["QdrantEdgeRelease", "QdrantEdgeStore"]

# Candidates of each leg: enough that fusion sees past the wanted hits.
_MIN_CANDIDATES = 50
# Candidates by the quantized vectors that the original ones rescore, for one that is wanted (`make bench-vectors`).
_OVERSAMPLING = {"int8": 2.0, "binary": 6.0, "product": 4.0, "none": 1.0}


PointId = int | UUID | str
ShardAnswers = Sequence[Sequence[ScoredPoint]]
"""What one leg found in each shard."""


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
            settled.close()
            if held != chunks:
                raise IndexBuildError(f"shard {number} holds {held} points after {chunks} chunks were added.")
            return seal(staging, target, root=self._root, number=number, content=content, chunks=chunks)

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
        self._oversampling = _OVERSAMPLING[manifest.index.quantization]

    @property
    def manifest(self) -> ReleaseManifest:
        """What was opened."""
        return self._manifest

    def search(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Answer several requests; see `OpenRelease.search`."""
        plans = [self._legs(request) for request in requests]
        queries = [query for plan in plans for query in plan.values()]
        if not queries:
            return [[] for _ in requests]
        per_shard = [shard.query_batch(QueryBatchRequest(queries)) for shard in self._shards]
        per_query = zip(*per_shard, strict=True)
        legs_of = [{name: next(per_query, ()) for name in plan} for plan in plans]
        return [self._fuse(request, legs) for request, legs in zip(requests, legs_of, strict=True)]

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

    def _legs(self, request: SearchRequest) -> dict[str, QueryRequest]:
        if request.vector.shape != (self._manifest.embedding.dim,):
            raise ReleaseError(
                f"the question's vector has shape {request.vector.shape}, the release's vectors have dimension "
                f"{self._manifest.embedding.dim}."
            )
        caller = request.caller if self._is_restricted else EVERYTHING
        where = self._index_filter(effective_filter(request.where, caller))
        limit = _candidates(request)
        legs: dict[str, QueryRequest] = {}
        if request.mode != SearchMode.BM25:
            vector = request.vector if self._reduction is None else self._reduction(request.vector[None])[0]
            legs[DENSE] = _query(Query.Nearest(vector.tolist(), using=DENSE), limit, where, self._oversampling)
        if request.mode != SearchMode.DENSE:
            terms = self._frequencies.weigh(self._bm25.embed_query(request.text))
            if terms.indices:
                legs[SPARSE] = _query(Query.Nearest(terms, using=SPARSE), limit, where, self._oversampling)
        return legs

    def _fuse(self, request: SearchRequest, legs: Mapping[str, ShardAnswers]) -> list[Hit]:
        best = {name: _best(answers, _candidates(request)) for name, answers in legs.items()}
        shard_of = {key: number for leg in best.values() for key, _, number in leg}
        if len(best) == 1:
            (leg,) = best.values()
            ranked = [(key, score) for key, score, _ in leg]
        else:
            ranked = reciprocal_rank_fusion([[key for key, _, _ in leg] for leg in best.values()])
        ranked = ranked[: request.top_k]
        similarity = {key: score for key, score, _ in best.get(DENSE, [])}
        if DENSE in legs:
            # What the other leg ranked high may be among the dense leg's answers behind its best.
            shards = {shard_of[key] for key, _ in ranked if key not in similarity}
            similarity |= {str(point.id): float(point.score) for shard in shards for point in legs[DENSE][shard]}
        payloads = self._payloads([key for key, _ in ranked], shard_of)
        return [_hit(key, score, similarity.get(key), payloads[key]) for key, score in ranked]

    def _payloads(self, keys: Sequence[str], shard_of: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        payloads: dict[str, dict[str, Any]] = {}
        for number, shard in enumerate(self._shards):
            wanted: list[PointId] = [key for key in keys if shard_of[key] == number]
            if wanted:
                records = shard.retrieve(wanted, with_payload=True, with_vector=False)
                payloads |= {str(record.id): record.payload or {} for record in records}
        return payloads


def _candidates(request: SearchRequest) -> int:
    return max(request.top_k, _MIN_CANDIDATES)


def _best(answers: ShardAnswers, limit: int) -> list[tuple[str, float, int]]:
    """Merge what the shards found: (key, score, shard number), best first, equal scores by key.

    Keys are made of the best only: Qdrant builds a UUID for each, 3 us, and the shards together find many more.
    """
    scores = sorted((point.score for answer in answers for point in answer), reverse=True)
    least = scores[min(limit, len(scores)) - 1] if scores else 0.0
    found = [
        (str(point.id), float(point.score), number)
        for number, answer in enumerate(answers)
        for point in answer
        if point.score >= least
    ]
    return sorted(found, key=lambda item: (-item[1], item[0]))[:limit]


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


def _query(query: Query, limit: int, where: qdrant.Filter | None, oversampling: float) -> QueryRequest:
    params = SearchParams(
        hnsw_ef=max(128, limit), quantization=QuantizationSearchParams(rescore=True, oversampling=oversampling)
    )
    return QueryRequest(limit=limit, query=query, filter=where, params=params)


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
