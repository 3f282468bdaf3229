"""The embedded store: Qdrant Edge shards built once with the write-ahead log off, then only read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from qdrant_edge import (
    Bm25,
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeShard,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    Filter,
    HnswIndexConfig,
    PayloadSchemaType,
    Point,
    QuantizationSearchParams,
    Query,
    QueryBatchRequest,
    QueryRequest,
    ScalarQuantizationConfig,
    ScalarType,
    SearchParams,
    SparseVector,
    UpdateOperation,
)

from forebay.chunks import embedded_text
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import IndexBuildError, ReleaseError
from forebay.releases import ReleaseManifest
from forebay.settings import IndexSettings
from forebay.store.bm25 import DocumentFrequencies, bm25_model
from forebay.store.contract import Hit, SearchMode, SearchRequest, ShardRef
from forebay.store.filters import to_qdrant_filter
from forebay.store.fusion import reciprocal_rank_fusion
from forebay.store.shard_files import find_intact, seal, staging_folder, verify

__all__ = ["QdrantEdgeRelease", "QdrantEdgeStore"]

_DENSE = "dense"
_SPARSE = "bm25"
_FREQUENCIES = "frequencies.npz"
_UPSERT_ROWS = 512
_PAYLOAD = (
    "doc_id",
    "title",
    "text",
    "uri",
    "source",
    "format",
    "heading_path",
    "start_char",
    "end_char",
    "text_hash",
)
_INDEXED = ("doc_id", "source", "format")
_NORM_TOLERANCE = 1e-3
# Candidates of each leg: enough that fusion sees past the wanted hits.
_MIN_CANDIDATES = 50


PointId = int | UUID | str


class QdrantEdgeStore:
    """Builds and opens shards under one folder (see `forebay.store.contract.VectorStore`)."""

    def __init__(self, root: Path, spec: EmbeddingSpec, settings: IndexSettings) -> None:
        self._root = root
        self._spec = spec
        self._settings = settings

    def shard_folder(self, number: int, content: str) -> str:
        """Name the place of a shard: the same number and content always give the same place."""
        return f"s{number:03d}/{content}"

    def find_shard(self, number: int, content: str) -> ShardRef | None:
        """Look for a finished shard with this number and content."""
        return find_intact(self._root / self.shard_folder(number, content))

    def build_shard(self, number: int, content: str, batches: Iterable[pa.RecordBatch]) -> ShardRef:
        """Build a shard from chunk rows with a `vector` column; see `VectorStore.build_shard`."""
        target = self._root / self.shard_folder(number, content)
        with staging_folder(target) as staging:
            shard = EdgeShard.create(str(staging), self._config())
            try:
                chunks = self._fill(shard, staging, batches)
                shard.optimize()
                shard.flush()
            finally:
                shard.close()
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

    def _config(self) -> EdgeConfig:
        quantization = ScalarQuantizationConfig(ScalarType.Int8) if self._settings.quantization == "int8" else None
        return EdgeConfig(
            vectors={_DENSE: EdgeVectorParams(self._spec.dim, Distance.Cosine, quantization_config=quantization)},
            sparse_vectors={_SPARSE: EdgeSparseVectorParams()},
            hnsw_config=HnswIndexConfig(
                self._settings.hnsw_m, self._settings.hnsw_ef_construct, full_scan_threshold=10_000
            ),
            wal_enabled=False,
        )

    def _fill(self, shard: EdgeShard, staging: Path, batches: Iterable[pa.RecordBatch]) -> int:
        for name in _INDEXED:
            shard.update(UpdateOperation.create_field_index(name, PayloadSchemaType.Keyword))
        bm25 = bm25_model(self._settings)
        parts: list[DocumentFrequencies] = []
        for batch in batches:
            for start in range(0, batch.num_rows, _UPSERT_ROWS):
                points, sparse = _points(_rows(batch.slice(start, _UPSERT_ROWS), self._spec.dim), bm25)
                shard.update(UpdateOperation.upsert_points(points))
                parts.append(DocumentFrequencies.count(sparse))
        frequencies = DocumentFrequencies.merge(parts)
        frequencies.save(staging / _FREQUENCIES)
        return frequencies.n_chunks


def _rows(batch: pa.RecordBatch, dim: int) -> Iterable[tuple[dict[str, Any], list[float]]]:
    column = batch.column("vector")
    vectors = np.asarray(column.flatten(), dtype=np.float32)
    if column.null_count or vectors.size != batch.num_rows * dim:
        raise IndexBuildError(f"chunks without a vector of dimension {dim} can't be indexed; embed them first.")
    vectors = vectors.reshape(batch.num_rows, dim)
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=_NORM_TOLERANCE):
        raise IndexBuildError("a vector is not a finite unit vector; the embeddings table is damaged.")
    rows = batch.drop_columns(["vector"]).to_pylist()
    return zip(rows, vectors.tolist(), strict=True)


def _points(rows: Iterable[tuple[dict[str, Any], list[float]]], bm25: Bm25) -> tuple[list[Point], list[SparseVector]]:
    points: list[Point] = []
    sparse: list[SparseVector] = []
    for row, vector in rows:
        terms = bm25.embed_document(embedded_text(row["title"], row["heading_path"], row["text"]))
        payload = {name: row[name] for name in _PAYLOAD}
        payload["metadata"] = json.loads(row["metadata"])
        points.append(Point(row["chunk_id"], {_DENSE: vector, _SPARSE: terms}, payload))
        sparse.append(terms)
    return points, sparse


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
            parts = [DocumentFrequencies.load(root / ref.path / _FREQUENCIES) for ref in manifest.shards]
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
        plans = [self._legs(request) for request in requests]
        queries = [query for plan in plans for query in plan.values()]
        if not queries:
            return []
        per_shard = [shard.query_batch(QueryBatchRequest(queries)) for shard in self._shards]
        answers: list[list[Hit]] = []
        position = 0
        for request, plan in zip(requests, plans, strict=True):
            legs: dict[str, list[tuple[str, float, int]]] = {}
            for name in plan:
                found = [
                    (str(point.id), float(point.score), number)
                    for number, shard_answers in enumerate(per_shard)
                    for point in shard_answers[position]
                ]
                legs[name] = sorted(found, key=lambda item: (-item[1], item[0]))
                position += 1
            answers.append(self._fuse(request, legs))
        return answers

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """Count the chunks that match a filter."""
        request = CountRequest(exact=True, filter=to_qdrant_filter(where))
        return sum(shard.count(request) for shard in self._shards)

    def close(self) -> None:
        """Give back memory and files; searches under way must have ended."""
        while self._shards:
            self._shards.pop().close()

    def _legs(self, request: SearchRequest) -> dict[str, QueryRequest]:
        if request.vector.shape != (self._manifest.embedding.dim,):
            raise ReleaseError(
                f"the question's vector has shape {request.vector.shape}, the release's vectors have dimension "
                f"{self._manifest.embedding.dim}."
            )
        where = to_qdrant_filter(request.where)
        limit = max(request.top_k, _MIN_CANDIDATES)
        legs: dict[str, QueryRequest] = {}
        if request.mode != SearchMode.BM25:
            legs[_DENSE] = _query(Query.Nearest(request.vector.tolist(), using=_DENSE), limit, where)
        if request.mode != SearchMode.DENSE:
            terms = self._frequencies.weigh(self._bm25.embed_query(request.text))
            if terms.indices:
                legs[_SPARSE] = _query(Query.Nearest(terms, using=_SPARSE), limit, where)
        return legs

    def _fuse(self, request: SearchRequest, legs: dict[str, list[tuple[str, float, int]]]) -> list[Hit]:
        limit = max(request.top_k, _MIN_CANDIDATES)
        shard_of = {key: number for leg in legs.values() for key, _, number in leg}
        if len(legs) == 1:
            (leg,) = legs.values()
            ranked = [(key, score) for key, score, _ in leg]
        else:
            ranked = reciprocal_rank_fusion([[key for key, _, _ in leg[:limit]] for leg in legs.values()])
        similarity = {key: score for key, score, _ in legs.get(_DENSE, [])}
        ranked = ranked[: request.top_k]
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


def _query(query: Query, limit: int, where: Filter | None) -> QueryRequest:
    params = SearchParams(
        hnsw_ef=max(128, limit), quantization=QuantizationSearchParams(rescore=True, oversampling=2.0)
    )
    return QueryRequest(limit=limit, query=query, filter=where, params=params)


def _hit(chunk_id: str, score: float, similarity: float | None, payload: dict[str, Any]) -> Hit:
    return Hit(
        chunk_id=chunk_id,
        doc_id=payload["doc_id"],
        score=score,
        similarity=similarity,
        title=payload["title"],
        text=payload["text"],
        uri=payload["uri"],
        heading_path=payload["heading_path"],
        start_char=payload["start_char"],
        end_char=payload["end_char"],
        text_hash=payload["text_hash"],
        metadata=payload["metadata"],
    )
