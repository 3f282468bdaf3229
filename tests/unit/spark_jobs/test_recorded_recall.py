"""The recall of a shard's index: measured when it is built, kept in its seal, checked and shown by the job."""

import json
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from dagster_pipes import (
    PipesContext,
    PipesDefaultContextLoader,
    PipesDefaultMessageWriter,
    PipesEnvVarParamsLoader,
    encode_param,
)
from qdrant_edge import EdgeShard, Query, QueryRequest

from forebay.settings import IndexSettings
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.store.qdrant_effort import search_params
from forebay.store.query_rules import MIN_CANDIDATES
from forebay.testing import HashEmbedder
from spark_jobs.load_index.main import _report
from spark_jobs.pipes import JobOrders, Reporter
from tests.releases import chunk_rows

_DIM, _ROWS, _ASKED = 128, 4_000, 64
# A graph with the fewest edges that the settings allow, over what has no structure.
_POOR = IndexSettings(hnsw_m=4, hnsw_ef_construct=8, quantization="none")


@dataclass
class _Told:
    """What a job tells Dagster."""

    checks: dict
    metadata: dict


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Gives a function that reports shards over real Pipes, and gives what it wrote."""

    def told(*arguments):
        messages = tmp_path / "messages"
        context = {"asset_keys": ["index_shards"], "run_id": "run", "retry_number": 0, "extras": {}}
        monkeypatch.setenv("DAGSTER_PIPES_CONTEXT", encode_param({"data": context}))
        monkeypatch.setenv("DAGSTER_PIPES_MESSAGES", encode_param({"path": str(messages)}))
        connection = PipesEnvVarParamsLoader(), PipesDefaultContextLoader(), PipesDefaultMessageWriter()
        with PipesContext(*connection) as pipes:
            _report(arguments[0], Reporter(pipes), *arguments[1:])
        written = [json.loads(line) for line in messages.read_text("utf-8").splitlines()]
        checks = {
            said["params"]["check_name"]: (said["params"]["passed"], said["params"]["severity"], _raw(said))
            for said in written
            if said["method"] == "report_asset_check"
        }
        (made,) = (said for said in written if said["method"] == "report_asset_materialization")
        return _Told(checks, _raw(made))

    return told


def _raw(said):
    return {name: value["raw_value"] for name, value in said["params"]["metadata"].items()}


@pytest.fixture(scope="module")
def noise():
    vectors = np.random.default_rng(3).standard_normal((_ROWS, _DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory, noise):
    """Gives the reference of a poor shard, its folder, and the ids of its chunks in the order of the vectors."""
    root = tmp_path_factory.mktemp("shards")
    documents = [(f"d{number}", "", f"text {number}", {}) for number in range(_ROWS)]
    rows = chunk_rows(documents, HashEmbedder(8))
    held = [{**row, "vector": vector} for row, vector in zip(rows, noise.tolist(), strict=True)]
    store = QdrantEdgeStore(root, HashEmbedder(_DIM).spec, _POOR)
    ref = store.build_shard(0, "poor", [pa.RecordBatch.from_pylist(held)])
    assert store.find_shard(0, "poor") == ref
    return ref, root / ref.path, [row["chunk_id"] for row in rows]


def test_what_is_recorded_is_what_an_exact_search_says(built, noise):
    ref, folder, ids = built
    # The shard's first vectors by id, whose own chunk doesn't count.
    asked = sorted(range(_ROWS), key=lambda row: UUID(ids[row]))[:_ASKED]
    exact = noise[asked] @ noise.T
    exact[np.arange(_ASKED), asked] = -np.inf
    tenth = np.sort(exact)[:, -10]
    shard = EdgeShard.load(str(folder))
    row_of = {chunk_id: row for row, chunk_id in enumerate(ids)}
    params = search_params(MIN_CANDIDATES, _POOR, 1_000)
    hits = 0
    for place, row in enumerate(asked):
        query = Query.Nearest(noise[row].tolist(), using="dense")
        answer = shard.query(QueryRequest(limit=MIN_CANDIDATES + 1, query=query, params=params))
        found = [row_of[str(point.id)] for point in answer if row_of[str(point.id)] != row][:10]
        hits += int((exact[place, found] >= tenth[place] - 1e-5).sum())
    shard.close()
    assert ref.ann_recall10 == pytest.approx(hits / (10 * _ASKED), abs=0.001)
    assert 0.2 < ref.ann_recall10 < 0.9


def test_a_shard_whose_graph_is_bad_fails_the_check_and_its_figure_is_shown(built, report):
    ref = built[0]
    good = ref.model_copy(update={"number": 1, "ann_recall10": 0.99})
    older = ref.model_copy(update={"number": 2, "ann_recall10": None})
    of_another_run = ref.model_copy(update={"number": 3})
    refs = {one.number: one for one in (ref, good, older, of_another_run)}
    told = report(JobOrders("run", (0, 1, 2), 4, ()), refs, 1, 3 * _ROWS)
    passed, severity, metadata = told.checks["index_finds_what_exact_search_finds"]
    assert (passed, severity) == (False, "ERROR")
    assert metadata["below"] == {"s000": ref.ann_recall10}
    assert (metadata["shards"], metadata["lowest"], metadata["min_recall10"]) == (2, ref.ann_recall10, 0.9)
    assert metadata["mean"] == pytest.approx((ref.ann_recall10 + 0.99) / 2, abs=1e-4)
    assert told.checks["shards_hold_every_chunk"][0]
    assert told.metadata["dagster/row_count"] == 3 * _ROWS
    assert told.metadata["rows_per_shard"] == {"s000": _ROWS, "s001": _ROWS, "s002": _ROWS}


def test_the_least_recall_is_a_setting(built, report, monkeypatch):
    monkeypatch.setenv("FOREBAY_RELEASE_MIN_ANN_RECALL", "0.1")
    told = report(JobOrders("run", (0,), 1, ()), {0: built[0]}, 1, _ROWS)
    passed, _, metadata = told.checks["index_finds_what_exact_search_finds"]
    assert (passed, metadata["min_recall10"]) == (True, 0.1)
