import pyarrow as pa
import pytest
from pyspark import TaskContext
from pyspark.errors import PySparkException
from qdrant_edge import EdgeShard, ScrollRequest

from forebay.documents import content_hash
from forebay.errors import IndexBuildError
from forebay.settings import IndexSettings
from forebay.store.contract import ShardRef
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.testing import HashEmbedder
from spark_jobs.load_index.transforms import built_shards, delta_of, refs_of
from spark_jobs.pipes import error_of_task
from tests.releases import chunk_rows

pytestmark = pytest.mark.integration

_EMBEDDER = HashEmbedder()


def _rows(texts):
    """Documents by their number, in two shards."""
    rows = chunk_rows([(f"d{n}", f"title {n}", text, {}) for n, text in texts.items()], _EMBEDDER)
    return [row | {"shard": n % 2} for n, row in zip(texts, rows, strict=True)]


def _frames(spark, rows):
    table = pa.Table.from_pylist(rows)
    embeddings = spark.createDataFrame(table.select(["text_hash", "vector"])).dropDuplicates(["text_hash"])
    return spark.createDataFrame(table.drop_columns(["vector"])), embeddings


def _hashes(spark, rows):
    kept = [{"shard": row["shard"], "chunk_id": row["chunk_id"], "row_hash": row["text_hash"]} for row in rows]
    return spark.createDataFrame(pa.Table.from_pylist(kept))


def _held(root, ref):
    shard = EdgeShard.load(str(root / ref.path))
    points, _ = shard.scroll(ScrollRequest(limit=10_000, with_payload=True))
    held = {str(point.id): point.payload["text"] for point in points}
    shard.close()
    return held


def test_shards_take_up_what_is_new_and_lose_what_is_gone(spark, tmp_path):
    before = {n: f"wing number{n}" for n in range(40)}
    # Shard 0 loses two chunks and has two others, one of them changed; shard 1 only loses one.
    now = {n: text for n, text in before.items() if n not in (2, 4, 5)} | {6: "a changed text", 40: "a new text"}
    store = QdrantEdgeStore(tmp_path, _EMBEDDER.spec, IndexSettings())
    rows, embeddings = _frames(spark, _rows(before))
    contents = {number: content_hash("before", str(number)) for number in (0, 1)}
    bases = {ref.number: ref for ref in refs_of(built_shards(rows, embeddings, contents, {}, None, store))}

    delta = delta_of(_hashes(spark, _rows(now)), _hashes(spark, _rows(before)))
    assert (delta.added, delta.removed) == ({0: 2, 1: 0}, {0: 3, 1: 1})
    assert (delta.size(0), delta.size(1), delta.size(7)) == (5, 1, 0)
    rows, embeddings = _frames(spark, _rows(now))
    added = rows.join(delta.chunks_of(bases, "is_added").select("chunk_id"), "chunk_id", "left_semi")
    contents = {number: content_hash("now", str(number)) for number in (0, 1)}
    removed = delta.chunks_of(bases, "is_removed")
    refs = refs_of(built_shards(added, embeddings, contents, bases, removed, store))

    held = {ref.number: _held(tmp_path, ref) for ref in refs}
    for number in (0, 1):
        assert held[number] == {row["chunk_id"]: row["text"] for row in _rows(now) if row["shard"] == number}


def test_a_shard_whose_chunks_are_more_than_a_batch_is_divided_rightly(spark, tmp_path):
    texts = {2 * n: f"wing number{n}" for n in range(3000)}
    store = QdrantEdgeStore(tmp_path, _EMBEDDER.spec, IndexSettings())
    rows, embeddings = _frames(spark, _rows(texts))
    (base,) = refs_of(built_shards(rows, embeddings, {0: content_hash("before")}, {}, None, store))
    assert base.chunks == 3000
    gone, left = _rows(texts)[:2900], _rows(texts)[2900:]
    removed = spark.createDataFrame(pa.Table.from_pylist(gone).select(["shard", "chunk_id"]))
    contents, bases = {0: content_hash("after")}, {0: base}
    (ref,) = refs_of(built_shards(rows.limit(0), embeddings, contents, bases, removed, store))
    assert set(_held(tmp_path, ref)) == {row["chunk_id"] for row in left}

    new = _rows({2 * n: f"wing number{n}" for n in range(3000, 6000)})
    rows, embeddings = _frames(spark, new)
    (ref,) = refs_of(built_shards(rows, embeddings, {0: content_hash("both")}, bases, removed, store))
    assert set(_held(tmp_path, ref)) == {row["chunk_id"] for row in [*left, *new]}


def test_what_a_task_says_is_wrong_is_what_the_job_says(spark, tmp_path):
    rows = _rows({n: f"text {n}" for n in range(4)})
    rows[2]["vector"] = [2 * number for number in rows[2]["vector"]]
    store = QdrantEdgeStore(tmp_path, _EMBEDDER.spec, IndexSettings())
    contents = {number: content_hash(str(number)) for number in (0, 1)}
    with pytest.raises(PySparkException) as failure:
        refs_of(built_shards(*_frames(spark, rows), contents, {}, None, store))
    told = error_of_task(failure.value)
    assert isinstance(told, IndexBuildError)
    assert str(told) == "a vector is not a finite unit vector; the embeddings table is damaged."


def test_a_task_that_crashes_says_nothing(spark):
    with pytest.raises(PySparkException) as failure:
        spark.range(1).mapInArrow(lambda _: iter([1 / 0]), "id long").collect()
    assert error_of_task(failure.value) is None


def test_each_shard_has_a_task_of_its_own(spark):
    class TaskNotingBuilder:
        """Builds nothing; its shards lie where their task's number says."""

        def build_shard(self, number, content, batches, _base=None):
            task = TaskContext.get().partitionId()
            rows = sum(batch.num_rows for batch in batches)
            return ShardRef(number=number, content=content, path=str(task), chunks=rows, bytes=0, checksum="")

    numbers = [0, 1, 2, 5, 9, 63]
    rows = [row | {"shard": numbers[n % 6]} for n, row in enumerate(_rows({n: f"text {n}" for n in range(60)}))]
    contents = {number: content_hash(str(number)) for number in numbers}
    refs = refs_of(built_shards(*_frames(spark, rows), contents, {}, None, TaskNotingBuilder()))
    assert {ref.number: ref.chunks for ref in refs} == dict.fromkeys(numbers, 10)
    assert len({ref.path for ref in refs}) == len(numbers)
