"""What every vector store promises of building shards; see `tests.stores.STORES`."""

import numpy as np
import pyarrow as pa
import pytest

from forebay.errors import IndexBuildError, ReleaseError
from forebay.settings import IndexSettings
from forebay.store.access import PUBLIC, Caller
from forebay.store.contract import SearchMode, SearchRequest, ShardBase
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.store.reduction import Reduction
from tests.releases import build_release, chunk_rows
from tests.stores import DOCUMENTS, search


def test_building_the_same_shard_twice_keeps_the_first(store_type, embedder, tmp_path):
    store = store_type(tmp_path, embedder.spec, IndexSettings())
    batch = pa.RecordBatch.from_pylist(chunk_rows(DOCUMENTS[:5], embedder))
    first = store.build_shard(0, "content", [batch])
    assert store.find_shard(0, "content") == first
    assert store.build_shard(0, "content", [batch]) == first
    assert not [path for path in tmp_path.rglob("*") if "building" in path.name]


@pytest.mark.parametrize("broken", [[1.0] * 64, [float("nan")] * 64, [0.0] * 64, None, [1.0]])
def test_a_broken_vector_is_never_indexed(store_type, embedder, tmp_path, broken):
    rows = chunk_rows(DOCUMENTS[:3], embedder)
    rows[1]["vector"] = broken
    store = store_type(tmp_path, embedder.spec, IndexSettings())
    with pytest.raises(IndexBuildError):
        store.build_shard(0, "content", [pa.RecordBatch.from_pylist(rows)])
    assert store.find_shard(0, "content") is None


def test_a_damaged_shard_is_refused_and_built_again(store_type, embedder, tmp_path):
    manifest = build_release(tmp_path, DOCUMENTS, embedder, shards=1)
    store = store_type(tmp_path, embedder.spec, manifest.index)
    (ref,) = manifest.shards
    victim = max((path for path in (tmp_path / ref.path).rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:10])
    with pytest.raises(ReleaseError, match=victim.name):
        store.open(manifest)
    assert store.find_shard(0, ref.content) is None
    batch = pa.RecordBatch.from_pylist(chunk_rows(DOCUMENTS, embedder))
    store.build_shard(0, ref.content, [batch])
    assert store.find_shard(0, ref.content) is not None


def test_a_missing_shard_is_a_named_error(store_type, embedder, tmp_path):
    manifest = build_release(tmp_path / "elsewhere", DOCUMENTS[:5], embedder)
    with pytest.raises(ReleaseError, match="missing"):
        store_type(tmp_path, embedder.spec, manifest.index).open(manifest)


def test_a_shard_made_from_an_earlier_one_answers_like_one_made_anew(tmp_path, embedder):
    documents = [
        (f"d{n}", f"title {n}", f"water number {n} flows through turbine {n % 7}", {"n": n}) for n in range(60)
    ]
    changed = [
        *documents[5:50],
        ("d50", "title 50", "an entirely new passage about herons", {"n": 50}),
        *documents[51:],
    ]
    store = QdrantEdgeStore(tmp_path, embedder.spec, IndexSettings())
    before, after = chunk_rows(documents, embedder), chunk_rows(changed, embedder)
    ref = store.build_shard(0, "before", [pa.RecordBatch.from_pylist(before)])
    removed = [row["chunk_id"] for row in before[:5]] + [before[50]["chunk_id"]]
    added = [row for row in after if row["doc_id"] == "d50"]
    store.build_shard(0, "from-base", [pa.RecordBatch.from_pylist(added)], ShardBase(ref, removed))
    store.build_shard(0, "anew", [pa.RecordBatch.from_pylist(after)])
    assert store.find_shard(0, "before") == ref
    # A copied hole is a hole.
    blocks = {name: _blocks(tmp_path / store.shard_folder(0, name)) for name in ("before", "from-base")}
    assert blocks["from-base"] < 2 * blocks["before"]
    answers = {}
    for content in ("from-base", "anew"):
        found = store.find_shard(0, content)
        manifest = build_release(tmp_path / "other", documents[:1], embedder).model_copy(update={"shards": (found,)})
        release = store.open(manifest)
        questions = ["herons", "water number 3", "turbine 6", "title 50"]
        vectors = embedder.embed_queries(questions)
        asked = [SearchRequest(text, vector, top_k=60) for text, vector in zip(questions, vectors, strict=True)]
        bm25 = [
            SearchRequest(text, vector, 60, SearchMode.BM25) for text, vector in zip(questions, vectors, strict=True)
        ]
        answers[content] = [
            {hit.chunk_id: round(hit.score, 5) for hit in hits} for hits in release.search([*asked, *bm25])
        ]
        assert release.count() == len(after)
        release.close()
    assert answers["from-base"] == answers["anew"]
    assert not {row["chunk_id"] for row in before[:5]} & set(answers["from-base"][1])


def _blocks(folder):
    return sum(path.stat().st_blocks for path in folder.rglob("*"))


@pytest.fixture(params=["pca", "truncate"])
def reduced(request, embedder, tmp_path):
    """A map to 16 dimensions, and the manifest of a release of vectors that were reduced by it."""
    vectors = np.array([row["vector"] for row in chunk_rows(DOCUMENTS, embedder)], np.float32)
    is_fitted = request.param == "pca"
    reduction = Reduction.fit(vectors, 16, len(vectors)) if is_fitted else Reduction.truncation(64, 16)
    index = IndexSettings(reduction=request.param, dimensions=16)
    return reduction, build_release(tmp_path, DOCUMENTS, embedder, shards=3, index=index, reduction=reduction)


def test_a_release_reduces_questions_as_its_vectors_were(store_type, embedder, tmp_path, reduced):
    reduction, manifest = reduced
    opened = store_type(tmp_path, manifest.embedding, manifest.index).open(manifest)
    rows = chunk_rows(DOCUMENTS, embedder)
    vectors = reduction(np.array([row["vector"] for row in rows], np.float32))
    question = embedder.embed_queries(["wing lift study number10"])
    expected = np.sort(vectors @ reduction(question)[0])[::-1][:5]
    (hits,) = opened.search([SearchRequest("", question[0], 5, SearchMode.DENSE)])
    assert [hit.similarity for hit in hits] == pytest.approx(expected.tolist(), abs=1e-4)
    opened.close()


def test_a_search_by_words_needs_no_vector_to_reduce(store_type, embedder, tmp_path, reduced):
    _, manifest = reduced
    opened = store_type(tmp_path, manifest.embedding, manifest.index).open(manifest)
    # The retriever embeds no question that only words are asked of.
    (hits,) = opened.search([SearchRequest("study number10", np.zeros(64, np.float32), 5, SearchMode.BM25)])
    assert hits[0].doc_id == "d10"
    opened.close()


def test_a_release_knows_its_projection(store_type, embedder, tmp_path, reduced):
    reduction, manifest = reduced
    assert manifest.reduction == reduction.fingerprint
    turned = Reduction(reduction.axes[::-1].copy(), reduction.explained, reduction.rows)
    for path in tmp_path.glob("s*/*/reduction.npz"):
        size = path.stat().st_size
        turned.save(path)
        assert path.stat().st_size == size
    with pytest.raises(ReleaseError, match=f"{turned.fingerprint}.*{reduction.fingerprint}"):
        store_type(tmp_path, manifest.embedding, manifest.index).open(manifest)


def test_a_projection_of_other_dimensions_is_no_release(store_type, embedder, tmp_path, reduced):
    _, manifest = reduced
    index = manifest.index.model_copy(update={"dimensions": 12})
    with pytest.raises(ReleaseError, match=r"64 to 16 dimensions.*64 to 12"):
        store_type(tmp_path, manifest.embedding, index).open(manifest.model_copy(update={"index": index}))


def test_shards_of_different_projections_are_no_release(store_type, embedder, tmp_path, reduced):
    reduction, manifest = reduced
    other = Reduction(reduction.axes[::-1].copy(), 0.0, 0)
    mixed = build_release(tmp_path, DOCUMENTS[:20], embedder, shards=1, index=manifest.index, reduction=other)
    manifest = manifest.model_copy(update={"shards": (*manifest.shards[:2], *mixed.shards)})
    with pytest.raises(ReleaseError, match="different projections"):
        store_type(tmp_path, manifest.embedding, manifest.index).open(manifest)


def test_fields_that_come_with_a_change_are_filtered_like_those_that_were_there(store_type, embedder, tmp_path):
    before = chunk_rows([(f"d{n}", "t", "water", {"old": n}) for n in range(20)], embedder)
    after = chunk_rows([(f"e{n}", "t", "water", {"new": n + 0.5, "tenant": "acme"}) for n in range(20)], embedder)
    store = store_type(tmp_path, embedder.spec, IndexSettings())
    base = store.build_shard(0, "before", [pa.RecordBatch.from_pylist(before)])
    ref = store.build_shard(0, "after", [pa.RecordBatch.from_pylist(after)], ShardBase(base, []))
    manifest = build_release(tmp_path / "other", DOCUMENTS[:1], embedder).model_copy(update={"shards": (ref,)})
    release = store.open(manifest)
    assert release.count({"metadata.old": {"lt": 5}}) == 5
    assert release.count({"metadata.new": {"lt": 5}}) == 5
    assert release.count({"or": [{"metadata.new": {"exists": True}}, {"metadata.old": [0, 1]}]}) == 22
    assert len(search(release, embedder, "water", top_k=50, caller=PUBLIC)) == 20
    assert len(search(release, embedder, "water", top_k=50, caller=Caller("acme"))) == 40
    release.close()
