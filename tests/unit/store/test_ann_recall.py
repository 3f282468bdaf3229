import numpy as np
import pytest
from qdrant_edge import (
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    HnswIndexConfig,
    Point,
    SearchParams,
    UpdateOperation,
)

from forebay.store.ann_recall import ann_recall


@pytest.fixture
def shard_of(tmp_path):
    opened = []

    def build(vectors):
        folder = tmp_path / f"shard{len(opened)}"
        folder.mkdir()
        config = EdgeConfig(
            vectors={"dense": EdgeVectorParams(vectors.shape[1], Distance.Cosine)},
            hnsw_config=HnswIndexConfig(4, 8, full_scan_threshold=10),
            optimizers=EdgeOptimizersConfig(indexing_threshold=10),
            wal_enabled=False,
        )
        shard = EdgeShard.create(str(folder), config)
        opened.append(shard)
        points = [Point(number, {"dense": vector.tolist()}, {}) for number, vector in enumerate(vectors)]
        for start in range(0, len(points), 1000):
            shard.update(UpdateOperation.upsert_points(points[start : start + 1000]))
        shard.optimize()
        return shard

    yield build
    for shard in opened:
        shard.close()


def _noise(n, dim):
    return np.random.default_rng(0).normal(size=(n, dim)).astype(np.float32)


def test_exact_search_finds_everything(shard_of):
    assert ann_recall(shard_of(_noise(300, 16)), "dense", SearchParams(exact=True)) == 1.0


def test_a_poor_graph_that_is_searched_hastily_finds_less(shard_of):
    # What has no structure is the worst case for a graph of 4 edges.
    shard = shard_of(_noise(5_000, 64))
    hasty = ann_recall(shard, "dense", SearchParams(hnsw_ef=4))
    patient = ann_recall(shard, "dense", SearchParams(hnsw_ef=512))
    assert hasty < 0.6
    assert hasty < patient <= 1.0
    # Whoever is asked for more walks on.
    assert hasty < ann_recall(shard, "dense", SearchParams(hnsw_ef=4), candidates=100)


@pytest.mark.parametrize("n", [0, 1])
def test_a_shard_without_neighbours_has_no_recall(shard_of, n):
    assert ann_recall(shard_of(_noise(n, 16)), "dense", SearchParams()) is None
