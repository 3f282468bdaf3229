"""Shards large enough for a graph, and so for quantized vectors."""

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from qdrant_edge import EdgeShard

from forebay.errors import IndexBuildError
from forebay.releases import Evaluation, ReleaseManifest
from forebay.settings import IndexSettings
from forebay.store.contract import SearchMode, SearchRequest, ShardBase
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.store.qdrant_filters import KEYWORD_FIELDS
from forebay.store.terms import METADATA_TERMS
from forebay.testing import HashEmbedder
from tests.releases import chunk_rows

_DIM = 1024
_ROWS = 1_300
_QUESTIONS = 40


def _near_centres(random, centres, n):
    vectors = centres[random.integers(0, len(centres), n)] + 0.6 * random.standard_normal((n, _DIM)) / np.sqrt(_DIM)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _manifest(spec, index, ref):
    return ReleaseManifest(
        corpus="test",
        embedding=spec,
        index=index,
        shards=(ref,),
        documents=_ROWS,
        table_versions={},
        evaluation=Evaluation(questions=0),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture(scope="module")
def vectors():
    """Unit vectors around 20 centres, and questions around the same ones."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((20, _DIM)) / np.sqrt(_DIM)
    return _near_centres(random, centres, _ROWS), _near_centres(random, centres, _QUESTIONS)


@pytest.fixture(scope="module")
def rows(vectors):
    documents = [(f"d{number}", f"title {number}", f"text {number}", {}) for number in range(_ROWS)]
    return [
        {**row, "vector": vector}
        for row, vector in zip(chunk_rows(documents, HashEmbedder(8)), vectors[0].tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("quantization", "first_pass_bytes"),
    [("int8", _DIM + 4), ("binary", _DIM / 8), ("product", _DIM / 4), ("none", 0)],
)
def test_each_quantization_is_as_small_as_it_says_and_ranks_by_the_originals(
    tmp_path, vectors, rows, quantization, first_pass_bytes
):
    index = IndexSettings(quantization=quantization)
    spec = HashEmbedder(_DIM).spec
    store = QdrantEdgeStore(tmp_path, spec, index)
    ref = store.build_shard(0, quantization, [pa.RecordBatch.from_pylist(rows)])
    quantized = [path.stat().st_size for path in (tmp_path / ref.path).rglob("quantized.data")]
    assert sum(quantized) == first_pass_bytes * _ROWS
    release = store.open(_manifest(spec, index, ref))
    others, questions = vectors
    answers = release.search([SearchRequest("", question, 10, SearchMode.DENSE) for question in questions])
    release.close()
    exact = questions @ others.T
    true = [{f"d{row}" for row in best} for best in np.argsort(-exact)[:, :10]]
    found = [{hit.doc_id for hit in hits} for hits in answers]
    assert np.mean([len(a & b) / 10 for a, b in zip(true, found, strict=True)]) >= 0.95
    for scores, hits in zip(exact, answers, strict=True):
        assert [hit.similarity for hit in hits] == pytest.approx(
            [scores[int(hit.doc_id[1:])] for hit in hits], abs=1e-4
        )


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what a process has mapped")
@pytest.mark.parametrize(
    ("quantization", "held"),
    [
        ("int8", {"scalar": {"type": "int8"}}),
        ("binary", {"binary": {"query_encoding": "scalar8bits"}}),
        ("product", {"product": {"compression": "x16"}}),
        ("none", None),
    ],
)
def test_originals_are_mapped_and_what_the_graph_is_walked_with_is_in_memory(tmp_path, rows, quantization, held):
    index, spec = IndexSettings(quantization=quantization), HashEmbedder(_DIM).spec
    store = QdrantEdgeStore(tmp_path, spec, index)
    ref = store.build_shard(0, quantization, [pa.RecordBatch.from_pylist(rows)])
    segments = [json.loads(path.read_bytes()) for path in (tmp_path / ref.path).rglob("segment.json")]
    dense = [segment["config"]["vector_data"]["dense"] for segment in segments]
    (graph,) = [vectors for vectors in dense if vectors["index"]["type"] == "hnsw"]
    assert (graph["quantization_config"], graph["index"]["options"]["m"]) == (held, index.hnsw_m)
    release = store.open(_manifest(spec, index, ref))
    lines = Path("/proc/self/maps").read_text().splitlines()
    release.close()
    mapped = {Path(line.split()[-1]).name for line in lines if str(tmp_path) in line}
    assert {"matrix.dat", "links_compressed.bin"} <= mapped
    assert "quantized.data" not in mapped


@pytest.mark.parametrize(("chunks", "in_graph"), [(300, 0), (_ROWS, _ROWS)])
def test_a_shard_has_a_graph_from_a_thousand_small_vectors_on(tmp_path, rows, chunks, in_graph):
    store = QdrantEdgeStore(tmp_path, HashEmbedder(_DIM).spec, IndexSettings())
    ref = store.build_shard(0, "graph", [pa.RecordBatch.from_pylist(rows[:chunks])])
    shard = EdgeShard.load(str(tmp_path / ref.path))
    indexed = shard.info().indexed_vectors_count
    shard.close()
    # Those of BM25 always are.
    assert indexed == chunks + in_graph


def test_the_part_that_a_filter_has_compared_one_by_one_follows_the_size(tmp_path, rows):
    """Qdrant walks no graph for a filter that leaves fewer."""
    store = QdrantEdgeStore(tmp_path, HashEmbedder(_DIM).spec, IndexSettings())

    def scanned(ref):
        return json.loads((tmp_path / ref.path / "edge_config.json").read_bytes())["hnsw_config"]["full_scan_threshold"]

    # Too small for a graph, which is begun with 1,500 KB; a vector takes 4.
    tiny = store.build_shard(0, "tiny", [pa.RecordBatch.from_pylist(rows[:300])])
    small = store.build_shard(0, "small", [pa.RecordBatch.from_pylist(rows[300:420])], ShardBase(tiny, []))
    larger = store.build_shard(0, "larger", [pa.RecordBatch.from_pylist(rows[420:700])], ShardBase(small, []))
    large = store.build_shard(0, "large", [pa.RecordBatch.from_pylist(rows[700:])], ShardBase(larger, []))
    assert [scanned(ref) for ref in (tiny, small, larger, large)] == [0, 560, 560, 1733]
    ids = [row["chunk_id"] for row in rows]
    smaller = store.build_shard(0, "smaller", [], ShardBase(large, ids[:200]))
    halved = store.build_shard(0, "halved", [], ShardBase(smaller, ids[200:800]))
    assert [scanned(ref) for ref in (smaller, halved)] == [1733, 666]


def test_bm25_reads_chunk_by_chunk_what_a_filter_leaves_of_a_twenty_fifth(tmp_path, rows, monkeypatch):
    monkeypatch.setattr("forebay.store.qdrant_build._MIN_SCANNED_TERMS", 10)
    store = QdrantEdgeStore(tmp_path, HashEmbedder(_DIM).spec, IndexSettings())
    ref = store.build_shard(0, "terms", [pa.RecordBatch.from_pylist(rows)])
    (built,) = (
        json.loads(path.read_bytes())["full_scan_threshold"]
        for path in (tmp_path / ref.path).rglob("sparse_index_config.json")
    )
    assert built == 0.04 * _ROWS


def test_what_filters_ask_for_is_mapped_in_a_shard_with_a_graph(tmp_path, rows):
    store = QdrantEdgeStore(tmp_path, HashEmbedder(_DIM).spec, IndexSettings())
    ref = store.build_shard(0, "mapped", [pa.RecordBatch.from_pylist(rows)])
    (segment,) = (path.parent.parent for path in (tmp_path / ref.path).rglob("vector_index-dense/hnsw_config.json"))
    types = json.loads((segment / "payload_index" / "config.json").read_bytes())["indexed_types"]
    mapped = {"index_type": "keyword_index", "mutability": "immutable", "storage_type": {"mmap": {"is_on_disk": True}}}
    assert {name: kinds[0] for name, kinds in types.items()} == {
        name: mapped for name in (*KEYWORD_FIELDS, METADATA_TERMS)
    }


def test_a_disk_that_is_about_to_be_full_ends_the_build_before_it_is(tmp_path, rows, monkeypatch):
    store = QdrantEdgeStore(tmp_path, HashEmbedder(_DIM).spec, IndexSettings())
    base = store.build_shard(0, "base", [pa.RecordBatch.from_pylist(rows[:1_200])])

    def built(free_mb, base=None):
        usage = shutil.disk_usage(tmp_path)._replace(free=free_mb * 2**20)
        monkeypatch.setattr("forebay.store.shard_files.shutil.disk_usage", lambda _: usage)
        try:
            store.build_shard(0, "next", [pa.RecordBatch.from_pylist(rows)], base)
        except IndexBuildError as exc:
            return str(exc)
        return "built"

    # 64 MiB stay free; a second copy, or the base's, takes some more.
    assert "nearly full: a shard needs 64 MiB more, and 63 MiB are free" in built(63)
    assert re.search(r"needs (6[5-9]|[7-9]\d|1\d\d) MiB more, and 64 MiB are free", built(64))
    assert re.search(r"needs (6[5-9]|[7-9]\d|1\d\d) MiB more, and 64 MiB are free", built(64, ShardBase(base, [])))
    assert [path.name for path in (tmp_path / "s000").iterdir()] == ["base"]
    assert built(1024) == "built"


def test_what_filters_ask_for_is_indexed_and_stays_so(tmp_path):
    embedder = HashEmbedder(8)
    store = QdrantEdgeStore(tmp_path, embedder.spec, IndexSettings())

    def built(name, metadata, base=None):
        batch = pa.RecordBatch.from_pylist(chunk_rows([(name, "t", "text", metadata)], embedder))
        return store.build_shard(0, name, [batch], base)

    def indexed(ref):
        shard = EdgeShard.load(str(tmp_path / ref.path))
        types = {name: str(found.data_type) for name, found in shard.info().payload_schema.items()}
        shard.close()
        return types

    first = built("first", {"tenant": 7, "year": 1990, "colour": "red"})
    second = built("second", {"tenant": 8, "pages": 3}, ShardBase(first, []))
    words = {"doc_id", "title", "uri", "source", "format", "language"}
    words |= {"metadata.tenant", "metadata.groups", "metadata_terms"}
    by_type = {"PayloadSchemaType.Keyword": words, "PayloadSchemaType.Float": {"metadata.year"}}
    types = {name: kind for kind, names in by_type.items() for name in names}
    assert indexed(first) == types
    assert indexed(second) == types | {"metadata.pages": "PayloadSchemaType.Float"}


def test_a_graph_that_is_carried_on_finds_what_came_and_not_what_went(tmp_path, vectors, rows):
    before, gone = rows[:1_200], rows[:100]
    index, spec = IndexSettings(), HashEmbedder(_DIM).spec
    store = QdrantEdgeStore(tmp_path, spec, index)
    base = store.build_shard(0, "before", [pa.RecordBatch.from_pylist(before)])
    removed = [row["chunk_id"] for row in gone]
    ref = store.build_shard(0, "after", [pa.RecordBatch.from_pylist(rows[1_200:])], ShardBase(base, removed))
    assert ref.chunks == 1_200
    release = store.open(_manifest(spec, index, ref))
    asked = [SearchRequest("", vector, 10, SearchMode.DENSE) for vector in vectors[0]]
    found = [[hit.chunk_id for hit in hits] for hits in release.search(asked)]
    release.close()
    assert not set(removed) & {chunk_id for hits in found for chunk_id in hits}
    nearest = [hits[0] == row["chunk_id"] for hits, row in zip(found, rows, strict=True)]
    assert sum(nearest[100:1_200]) >= 0.99 * 1_100
    assert sum(nearest[1_200:]) >= 0.99 * 100
