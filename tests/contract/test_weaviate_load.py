"""What the Weaviate store sends when it loads, and what it makes of answers that go wrong."""

import json
from itertools import groupby

import pytest
from weaviate.proto.v1 import base_pb2

from forebay.errors import ConfigurationError, IndexBuildError, ReleaseError
from forebay.settings import IndexSettings
from forebay.store.filters import CHUNK_FIELDS
from forebay.store.weaviate_connection import connect
from forebay.store.weaviate_store import WeaviateStore
from tests.releases import chunk_rows, cluster_release
from tests.weaviate_cluster import EMBEDDER, RELEASE_ID, ROWS, Killed, batches, held_objects, load, served_wire
from tests.weaviate_wire import Fault, packed

_HOW = {"dim": EMBEDDER.spec.dim, "index": IndexSettings()}


def test_a_collection_is_created_with_what_can_not_be_changed_later(wire, open_store):
    store = open_store(shards=24, replication_factor=3)
    for _ in range(2):
        store.prepare(RELEASE_ID, IndexSettings(bm25_b=0.6, bm25_k=1.5))
    (created,) = [body for method, path, body, _ in wire.rest if (method, path) == ("POST", "schema")]
    assert created["class"] == f"ForebayChunks_{RELEASE_ID}"
    assert created["shardingConfig"]["desiredCount"] == 24
    assert created["replicationConfig"]["factor"] == 3
    index = created["vectorConfig"]["default"]["vectorIndexConfig"]
    assert (index["distance"], index["rq"]["bits"], index["maxConnections"]) == ("cosine", 8, 16)
    properties = {item["name"]: item for item in created["properties"]}
    for name in (*CHUNK_FIELDS, "metadata_terms", "load"):
        assert (properties[name]["tokenization"], properties[name]["indexFilterable"]) == ("field", True), name
    stored = ("heading_path", "text", "metadata", "locations", "text_hash", "page")
    assert not any(properties[name]["indexFilterable"] for name in (*stored, "stems"))
    # Words have no other index: it would be written and never asked.
    assert [name for name, held in properties.items() if held.get("indexSearchable")] == ["stems"]
    assert properties["stems"]["tokenization"] == "whitespace"
    assert created["invertedIndexConfig"]["bm25"] == {"b": 0.6, "k1": 1.5}


def test_settings_that_weaviate_can_not_do_are_an_error(open_store):
    with pytest.raises(ConfigurationError, match="'product'"):
        open_store().prepare(RELEASE_ID, IndexSettings(quantization="product"))


def test_a_cluster_that_went_away_is_named(wire, open_store):
    store = open_store()
    wire.stop()
    with pytest.raises(ReleaseError, match="looking for a collection"):
        store.prepare(RELEASE_ID, IndexSettings())
    with pytest.raises(ReleaseError, match="reading the alias"):
        store.current_id()


def test_every_chunk_goes_over_the_wire_once_with_its_own_id_and_vector(wire, open_store):
    assert load(open_store(api_key="secret")) == len(ROWS)
    assert sorted(wire.received) == sorted(row["chunk_id"] for row in ROWS)
    held = held_objects(wire)
    for row in ROWS:
        properties, vector = held[row["chunk_id"]]
        assert vector == packed(row["vector"])
        assert (properties["partition"], properties["load"]) == (0, "c")
        assert properties["text"] == row["text"]
        assert json.loads(properties["metadata"]) == json.loads(row["metadata"])
    assert '["year", 1950]' in held[ROWS[0]["chunk_id"]][0]["metadata_terms"]
    assert set(wire.streams) == {base_pb2.CONSISTENCY_LEVEL_QUORUM}
    assert {one["authorization"] for one in wire.metadata} == {"Bearer secret"}


@pytest.fixture(scope="module")
def undisturbed():
    """What a collection holds after a load that nothing disturbs."""
    with served_wire() as wire:
        settings = wire.settings()
        with connect(settings) as client:
            load(WeaviateStore(client, settings))
    return held_objects(wire)


def _many_rows(count):
    return chunk_rows([(f"d{n}", "", f"number{n}", {}) for n in range(count)], EMBEDDER)


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        *(("close", after) for after in (0, 150, 349)),
        *((kind, 150) for kind in ("unavailable", "deadline", "shutting_down", "out_of_memory", "lost")),
    ],
)
def test_a_stream_that_breaks_anywhere_ends_in_the_same_state(wire, open_store, undisturbed, kind, after):
    wire.faults["stream"] = [Fault(kind, after), Fault(kind, after // 2)]
    assert load(open_store(), size=len(ROWS)) == len(ROWS)
    assert kind in wire.failures
    assert held_objects(wire) == undisturbed
    assert set(undisturbed) == {row["chunk_id"] for row in ROWS}


def test_a_stream_that_breaks_while_it_is_still_fed_is_gone_on_with(wire, open_store):
    # The client raises where objects are handed over: slow answers keep it from having taken all of them.
    rows = _many_rows(2000)
    wire.ack_s, wire.faults["stream"] = 0.05, [Fault("close", 450)]
    assert load(open_store(), rows, size=len(rows)) == len(rows)
    assert wire.failures == ["close"]
    assert held_objects(wire).keys() == {row["chunk_id"] for row in rows}


@pytest.mark.parametrize("n_nodes", [1, 3])
def test_a_server_that_is_away_after_it_ran_out_of_memory_is_waited_for(wire, open_store, undisturbed, n_nodes):
    # With several nodes, the client looks for another one at once.
    wire.n_nodes = n_nodes
    wire.faults["stream"] = [Fault("out_of_memory", 150, away_s=2)]
    try:
        assert load(open_store(load_pause_s=1), size=len(ROWS)) == len(ROWS)
    finally:
        wire.absence.join()
    assert wire.failures == ["out_of_memory"]
    assert held_objects(wire) == undisturbed


@pytest.mark.parametrize("kind", ["shutting_down", "out_of_memory"])
def test_messages_that_a_server_loses_as_it_goes_are_not_waited_for_for_ever(wire, open_store, kind):
    # The client still hands chunks over, which slow answers see to.
    rows = _many_rows(2000)
    wire.ack_s, wire.faults["stream"] = 0.05, [Fault(kind, 450)]
    assert load(open_store(load_stall_s=4), rows, size=len(rows)) == len(rows)
    assert wire.failures == [kind]
    assert held_objects(wire).keys() == {row["chunk_id"] for row in rows}


def test_a_server_that_runs_out_of_memory_and_stays_is_asked_again(wire, open_store, undisturbed):
    # The client waits for a restart until the time of a write is over.
    wire.faults["stream"] = [Fault("still_out_of_memory", 150)]
    assert load(open_store(), size=len(ROWS)) == len(ROWS)
    assert wire.failures == ["still_out_of_memory"]
    assert len(wire.streams) == 2
    assert held_objects(wire) == undisturbed


def test_a_server_that_stays_out_of_memory_is_named(wire, open_store):
    wire.faults["stream"] = [Fault("still_out_of_memory")]
    with pytest.raises(IndexBuildError, match="350 chunks of partition 0 in 1 attempts"):
        load(open_store(load_attempts=1), size=len(ROWS))


def test_a_client_that_gave_its_stream_up_connects_again(wire, undisturbed):
    # What it leaves behind when the server is away for longer than it tries to reconnect.
    with connect(wire.settings()) as client:
        store = WeaviateStore(client, wire.settings())
        store.prepare(RELEASE_ID, IndexSettings())
        assert not store.holds_partition(RELEASE_ID, 0, "c", 1)
        client.close()
        assert store.load_partition(RELEASE_ID, 0, "c", batches(ROWS), **_HOW) == len(ROWS)
    assert held_objects(wire) == undisturbed


def test_messages_are_as_large_as_the_server_asks_for(wire, open_store):
    rows = _many_rows(4800)
    # A client takes no notice of sizes once it has been given everything, which slower answers delay.
    wire.ack_s, wire.batch_sizes = 0.05, [200, None, None, None, None, None, None, 120]
    assert load(open_store(), rows, size=len(rows)) == len(rows)
    # 100 is what the client begins with. How many messages it has made when it hears of another size isn't certain.
    assert [size for size, _ in groupby(wire.message_sizes[:-1])] == [100, 200, 120]
    assert held_objects(wire).keys() == {row["chunk_id"] for row in rows}


@pytest.mark.parametrize("killed_at", [0, 100, 300])
def test_a_load_that_is_killed_and_repeated_ends_in_the_same_state(open_store, wire, undisturbed, killed_at):
    store = open_store()
    for _ in range(2):
        with pytest.raises(Killed):
            load(store, killed_at=killed_at)
        assert not store.holds_partition(RELEASE_ID, 0, "c", len(ROWS))
    load(open_store())
    assert held_objects(wire) == undisturbed
    assert store.holds_partition(RELEASE_ID, 0, "c", len(ROWS))


def test_what_the_partition_held_before_is_deleted_and_other_partitions_stay(wire, open_store):
    store = open_store()
    load(store, ROWS[:50], number=1, content="other")
    load(store, ROWS[50:], content="old")
    wire.delete_limit = 40
    assert load(store, ROWS[50:100], content="new") == 50
    assert set(held_objects(wire)) == {row["chunk_id"] for row in ROWS[:100]}
    # 250 stale ones by 40 at a time, and the look that finds none.
    assert len(wire.deletes) == 2 + 7 + 1
    assert {one.consistency_level for one in wire.deletes} == {base_pb2.CONSISTENCY_LEVEL_QUORUM}
    assert store.load_partition(RELEASE_ID, 0, "gone", [], **_HOW) == 0
    assert set(held_objects(wire)) == {row["chunk_id"] for row in ROWS[:50]}


def test_a_failing_deletion_is_named_and_done_by_the_next_load(wire, open_store):
    store = open_store()
    load(store, ROWS[:20], content="old")
    wire.faults["delete"] = [Fault("internal")]
    with pytest.raises(IndexBuildError, match="partition 0 can't be finished"):
        load(store, ROWS[:10], content="new")
    assert not store.holds_partition(RELEASE_ID, 0, "new", 10)
    assert load(store, ROWS[:10], content="new") == 10


def test_a_chunk_that_the_server_refuses_is_named_with_the_servers_reason(wire, open_store):
    refused = ROWS[7]["chunk_id"]
    wire.refused = {refused: "the disk is read-only"}
    with pytest.raises(
        IndexBuildError, match=rf"1 chunks of partition 0 in 2 attempts, '{refused}'.*disk is read-only"
    ):
        load(open_store(load_attempts=2))
    wire.refused = {}
    assert load(open_store()) == len(ROWS)


def test_rows_that_can_not_be_indexed_are_refused_before_they_are_sent(wire, open_store):
    store = open_store()
    with pytest.raises(IndexBuildError, match="two chunks of one id"):
        load(store, [ROWS[0], ROWS[0]])
    with pytest.raises(IndexBuildError, match="dimension 64"):
        load(store, [{**ROWS[0], "vector": [1.0]}])
    with pytest.raises(IndexBuildError, match="unit vector"):
        load(store, [{**ROWS[0], "vector": [1.0] * 64}])
    assert not wire.received


def _loaded(store, rows, content="c"):
    """Load a release of one partition; gives its manifest."""
    manifest = cluster_release(EMBEDDER, len(rows), content)
    load(store, rows, content=content, release_id=manifest.release_id)
    return manifest


def test_the_alias_moves_to_complete_releases_only_and_back(wire, open_store):
    store = open_store()
    one, other = _loaded(store, ROWS[:30]), _loaded(store, ROWS[:40], "other")
    names = [f"ForebayChunks_{manifest.release_id}" for manifest in (one, other)]
    assert store.current_id() is None
    (ref,) = one.shards
    with pytest.raises(ReleaseError, match=r"\(s000 30 of 31\).*ingest_job"):
        store.promote(one.model_copy(update={"shards": (ref.model_copy(update={"chunks": 31}),)}))
    wire.queue = [5]
    assert store.promote(one) is None
    assert store.promote(other) == one.release_id
    assert wire.aliases == {"ForebayChunks": names[1]}
    assert store.promote(one) == other.release_id
    assert store.current_id() == one.release_id
    moves = [(method, path, body) for method, path, body, _ in wire.rest if "aliases" in path and method != "GET"]
    assert moves == [
        ("POST", "aliases", {"class": names[0], "alias": "ForebayChunks"}),
        ("PUT", "aliases/ForebayChunks", {"class": names[1]}),
        ("PUT", "aliases/ForebayChunks", {"class": names[0]}),
    ]
    with pytest.raises(ReleaseError, match="is current"):
        store.remove(one.release_id)
    store.remove(other.release_id)
    assert names[1] not in wire.classes


def test_a_release_whose_vectors_are_not_indexed_in_time_is_not_promoted(wire, open_store):
    store = open_store(drain_timeout_s=0.01)
    manifest = _loaded(store, ROWS[:5])
    wire.queue = [3, 3, 3]
    with pytest.raises(ReleaseError, match="3 vectors"):
        store.promote(manifest)
    assert not wire.aliases


def test_a_release_that_is_not_complete_can_not_be_opened(open_store):
    store, manifest = open_store(), cluster_release(EMBEDDER, len(ROWS), "c")
    load(store, ROWS[:9], release_id=manifest.release_id)
    with pytest.raises(ReleaseError, match="holds 9 of 350 chunks"):
        store.open(manifest)
