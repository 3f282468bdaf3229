"""Fill a Qdrant Edge shard: from nothing, or from an earlier shard and what changed since."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_edge import (
    BinaryQuantizationConfig,
    BinaryQuantizationQueryEncoding,
    CompressionRatio,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    FloatIndexParams,
    HnswIndexConfig,
    KeywordIndexParams,
    Memory,
    Point,
    ProductQuantizationConfig,
    ScalarQuantizationConfig,
    ScalarType,
    SparseVector,
    UpdateOperation,
)

from forebay.chunks import embedded_text
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import IndexBuildError
from forebay.settings import IndexSettings
from forebay.store.bm25 import DocumentFrequencies
from forebay.store.bm25_terms import ChunkTerms
from forebay.store.contract import ShardBase
from forebay.store.filters import METADATA
from forebay.store.qdrant_effort import SCANNED_SHARE
from forebay.store.qdrant_filters import KEYWORD_FIELDS, qdrant_key
from forebay.store.reduction import Reduction
from forebay.store.shard_files import copy_sealed_files, require_space, size_on_disk
from forebay.store.terms import METADATA_TERMS, metadata_terms

__all__ = ["CONFIG", "DENSE", "FREQUENCIES", "REDUCTION", "SPARSE", "fill_shard", "terms_of"]

DENSE = "dense"
"""Name of the embedding in a shard."""
SPARSE = "bm25"
"""Name of the term weights in a shard."""
CONFIG = "edge_config.json"
"""File of a shard's settings, which Qdrant writes."""
FREQUENCIES = "frequencies.npz"
"""File of a shard's document frequencies."""
REDUCTION = "reduction.npz"
"""File of the map that a shard's vectors were reduced with, if they were."""

_UPSERT_ROWS = 512
# Twice what Qdrant sets aside for a file at a time.
_RESERVE_BYTES = 64 * 2**20
_PAYLOAD = (
    "doc_id",
    "title",
    "text",
    "uri",
    "source",
    "format",
    "language",
    "heading_path",
    "page",
    "start_char",
    "end_char",
    "text_hash",
)
_INDEXED = (*KEYWORD_FIELDS, METADATA_TERMS)
# Fields whose ranges have an index of their own: those that most chunks have a number in.
_MAX_INDEXED_RANGES = 64
_NORM_TOLERANCE = 1e-3
# A thousand vectors of 384 numbers: more take longer to compare one by one than by a graph. Qdrant's own limit, 20,000,
# leaves shards of 13,000 without one.
_GRAPH_FROM_KB = 1500
# Where a filter leaves fewer chunks, BM25 reads each chunk's terms instead of each term's places: quicker up to some 2%
# of a shard, which Qdrant tends to take for twice as many (docs/retrieval.md).
_SCANNED_TERMS_SHARE = 0.04
# Qdrant's own limit.
_MIN_SCANNED_TERMS = 5_000
_KB = 1024
_FLOAT_BYTES = 4
_QUANTIZATIONS = {
    "int8": ScalarQuantizationConfig(ScalarType.Int8),
    # A question is compared in 8 bits: as fast, and nearer to the truth than bit against bit.
    "binary": BinaryQuantizationConfig(query_encoding=BinaryQuantizationQueryEncoding.Scalar8Bits),
    "product": ProductQuantizationConfig(CompressionRatio.X16),
}


def fill_shard(
    folder: Path,
    root: Path,
    spec: EmbeddingSpec,
    settings: IndexSettings,
    batches: Iterable[pa.RecordBatch],
    base: ShardBase | None,
    reduction: Reduction | None = None,
) -> int:
    """Write a shard into an empty folder and close it.

    Returns:
        The chunks it should hold.

    Raises:
        IndexBuildError: a row has no proper vector, or the disk is about to be full.
    """
    shard = _begun(folder, root, spec, settings, base)
    try:
        parts: list[DocumentFrequencies] = []
        if base is not None:
            parts.append(_without(shard, DocumentFrequencies.load(folder / FREQUENCIES), base.removed))
        reader, numbers = ChunkTerms(settings), Counter[str]()
        for batch in batches:
            for start in range(0, batch.num_rows, _UPSERT_ROWS):
                points, sparse = _points(_rows(batch.slice(start, _UPSERT_ROWS), spec.dim, reduction), reader)
                require_space(folder, _RESERVE_BYTES)
                shard.update(UpdateOperation.upsert_points(points))
                parts.append(DocumentFrequencies.count(sparse))
                numbers.update(name for point in points for name in _numeric_fields(point))
        frequencies = DocumentFrequencies.merge(parts)
        if not _is_limit_right(folder, spec, settings, frequencies.n_chunks):
            shard.flush()
            shard.close()
            shard = EdgeShard.load(str(folder), _config(spec, settings, frequencies.n_chunks))
        # Qdrant writes a second copy, and what it maps to a full disk kills the process.
        require_space(folder, _RESERVE_BYTES + size_on_disk(folder))
        shard.optimize()
        # Not before, which takes a sixth longer and half as much memory again.
        _index_fields(shard, numbers)
        shard.flush()
    finally:
        shard.close()
    frequencies.save(folder / FREQUENCIES)
    if reduction is not None:
        reduction.save(folder / REDUCTION)
    return frequencies.n_chunks


def _begun(folder: Path, root: Path, spec: EmbeddingSpec, settings: IndexSettings, base: ShardBase | None) -> EdgeShard:
    """Make an empty shard, or one like its base."""
    if base is not None:
        require_space(folder, _RESERVE_BYTES + base.ref.bytes)
        copy_sealed_files(root / base.ref.path, folder)
        return EdgeShard.load(str(folder))
    return EdgeShard.create(str(folder), _config(spec, settings, 0))


def _is_limit_right(folder: Path, spec: EmbeddingSpec, settings: IndexSettings, chunks: int) -> bool:
    """Say whether a shard can be optimized with the limit that it was opened with: another one is another graph."""
    size = _vectors_kb(spec, settings, chunks)
    held = json.loads((folder / CONFIG).read_bytes())["hnsw_config"]["full_scan_threshold"]
    return size < _GRAPH_FROM_KB or held / 2 <= int(SCANNED_SHARE * size) <= 2 * held


def _without(shard: EdgeShard, frequencies: DocumentFrequencies, removed: list[str]) -> DocumentFrequencies:
    """Delete chunks from a shard and their terms from its frequencies."""
    for start in range(0, len(removed), _UPSERT_ROWS):
        part: list[Any] = removed[start : start + _UPSERT_ROWS]
        records = shard.retrieve(part, with_payload=False, with_vector=[SPARSE])
        terms = [terms_of(record.vector) for record in records]
        frequencies = frequencies.minus(DocumentFrequencies.count(terms))
        shard.update(UpdateOperation.delete_points(part))
    return frequencies


def _numeric_fields(point: Point) -> Iterator[str]:
    fields: dict[str, Any] = (point.payload or {})["metadata"]
    # Qdrant's paths have no way to write these two characters, and no filter names such a field.
    return (n for n, v in fields.items() if type(v) in (int, float) and n and not {'"', "\\"} & set(n))


def _index_fields(shard: EdgeShard, numbers: Counter[str]) -> None:
    """Index what filters ask for, and the numbers of the fields that have most of them; what is indexed stays so."""
    indexed = shard.info().payload_schema.keys()
    # Mapped: read into memory, they are most of what opening a release takes.
    for name in _INDEXED:
        if name not in indexed:
            shard.update(UpdateOperation.create_field_index(name, KeywordIndexParams(memory=Memory.Cached)))
    free = _MAX_INDEXED_RANGES - len(indexed - {*_INDEXED})
    keys = [qdrant_key(METADATA + name) for name, _ in sorted(numbers.items(), key=lambda item: (-item[1], item[0]))]
    for key in [key for key in keys if key not in {*indexed, *_INDEXED}][: max(0, free)]:
        shard.update(UpdateOperation.create_field_index(key, FloatIndexParams(memory=Memory.Cached)))


def terms_of(vector: Any) -> SparseVector:
    """Give the BM25 terms of a chunk's vectors; one of stop words only has no terms, and then no sparse vector."""
    return vector.get(SPARSE) or SparseVector([], [])


def _vectors_kb(spec: EmbeddingSpec, settings: IndexSettings, chunks: int) -> int:
    return chunks * (settings.dimensions or spec.dim) * _FLOAT_BYTES // _KB


def _config(spec: EmbeddingSpec, settings: IndexSettings, chunks: int) -> EdgeConfig:
    limit_kb = int(SCANNED_SHARE * _vectors_kb(spec, settings, chunks))
    scanned = max(_MIN_SCANNED_TERMS, int(_SCANNED_TERMS_SHARE * chunks))
    return EdgeConfig(
        vectors={
            DENSE: EdgeVectorParams(
                settings.dimensions or spec.dim,
                Distance.Cosine,
                quantization_config=_QUANTIZATIONS.get(settings.quantization),
            )
        },
        sparse_vectors={SPARSE: EdgeSparseVectorParams(full_scan_threshold=scanned)},
        hnsw_config=HnswIndexConfig(settings.hnsw_m, settings.hnsw_ef_construct, limit_kb),
        optimizers=EdgeOptimizersConfig(indexing_threshold=_GRAPH_FROM_KB),
        wal_enabled=False,
    )


def _rows(batch: pa.RecordBatch, dim: int, reduction: Reduction | None) -> Iterable[tuple[dict[str, Any], list[float]]]:
    column = batch.column("vector")
    vectors = np.asarray(column.flatten(), dtype=np.float32)
    if column.null_count or vectors.size != batch.num_rows * dim:
        raise IndexBuildError(f"chunks without a vector of dimension {dim} can't be indexed; embed them first.")
    vectors = vectors.reshape(batch.num_rows, dim)
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=_NORM_TOLERANCE):
        raise IndexBuildError("a vector is not a finite unit vector; the embeddings table is damaged.")
    if reduction is not None:
        vectors = reduction(vectors)
    rows = batch.drop_columns(["vector"]).to_pylist()
    return zip(rows, vectors.tolist(), strict=True)


def _points(
    rows: Iterable[tuple[dict[str, Any], list[float]]], reader: ChunkTerms
) -> tuple[list[Point], list[SparseVector]]:
    points: list[Point] = []
    sparse: list[SparseVector] = []
    for row, vector in rows:
        terms = reader.read(embedded_text(row["title"], row["heading_path"], row["text"]), row["language"])
        payload = {name: row[name] for name in _PAYLOAD}
        payload |= {name: json.loads(row[name]) for name in ("metadata", "locations")}
        payload[METADATA_TERMS] = metadata_terms(payload["metadata"])
        points.append(Point(row["chunk_id"], {DENSE: vector, SPARSE: terms}, payload))
        sparse.append(terms)
    return points, sparse
