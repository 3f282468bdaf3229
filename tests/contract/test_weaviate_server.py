"""What only a real Weaviate server shows; `make test-weaviate WEAVIATE_URL=...` runs it and the stores' suites."""

import uuid

import pyarrow as pa
import pytest

from forebay.errors import ReleaseError
from forebay.settings import IndexSettings
from forebay.store.access import PUBLIC, Caller
from forebay.store.contract import SearchMode
from forebay.store.weaviate_backup import back_up, restore
from forebay.store.weaviate_store import WeaviateStore
from forebay.store.weaviate_tenants import SHARED, tenant_name
from forebay.testing import HashEmbedder
from tests.releases import chunk_rows, cluster_release
from tests.stores import search
from tests.weaviate_cluster import NEEDS_SERVER, real_cluster

pytestmark = NEEDS_SERVER

_EMBEDDER = HashEmbedder()
_INDEX = IndexSettings(store="weaviate")
_WORDS = ["wing lift", "heat transfer", "boundary layer", "shock wave", "panel flutter"]
_ROWS = chunk_rows(
    [
        (
            f"d{n}",
            f"Title {n}",
            f"{_WORDS[n % 5]} study number{n}",
            {"n": n, **({"tenant": "acme"} if n % 4 == 0 else {})},
        )
        for n in range(200)
    ],
    _EMBEDDER,
)


def _new_manifest(index=_INDEX):
    return cluster_release(_EMBEDDER, len(_ROWS), uuid.uuid4().hex, index)


def _load(store, release_id, rows, content="c", index=_INDEX):
    store.prepare(release_id, index)
    how = {"dim": _EMBEDDER.spec.dim, "index": index}
    return store.load_partition(release_id, 0, content, [pa.RecordBatch.from_pylist(rows)], **how)


@pytest.fixture(scope="module")
def cluster():
    with real_cluster() as connected:
        yield connected


@pytest.fixture
def client(cluster):
    return cluster[0]


@pytest.fixture
def settings(cluster):
    return cluster[1]


@pytest.fixture
def store(client, settings):
    return WeaviateStore(client, settings)


def test_tenants_lie_apart_and_a_backup_brings_them_back(store, client, settings):
    index = IndexSettings(store="weaviate", tenants=True)
    manifest = _new_manifest(index)
    (content,) = [ref.content for ref in manifest.shards]
    for _ in range(2):
        assert _load(store, manifest.release_id, _ROWS, content, index) == 200
    assert store.holds_partition(manifest.release_id, 0, content, 200)
    collection = client.collections.use(f"{settings.alias}_{manifest.release_id}")
    assert set(collection.tenants.get()) == {SHARED, tenant_name("acme")}
    back_up(manifest, manifest.release_id, settings)
    client.collections.delete(collection.name)
    restore(manifest, manifest.release_id, settings)
    opened = store.open(manifest)
    try:
        for caller, expected in ((PUBLIC, {None}), (Caller("acme"), {None, "acme"}), (Caller("other"), {None})):
            for mode in SearchMode:
                hits = search(opened, _EMBEDDER, "study", top_k=200, caller=caller, mode=mode)
                assert {hit.metadata.get("tenant") for hit in hits} == expected
        assert opened.count({"metadata.tenant": "acme"}) == 50
    finally:
        opened.close()
    moved = [{**row, "metadata": '{"tenant": "globex"}'} for row in _ROWS]
    assert _load(store, manifest.release_id, moved, "new", index) == 200
    assert store.count(manifest.release_id) == 200


def test_a_load_repeated_and_changed_holds_the_new_rows_only(store):
    release_id = _new_manifest().release_id
    assert _load(store, release_id, _ROWS) == 200
    assert _load(store, release_id, _ROWS) == 200
    assert store.holds_partition(release_id, 0, "c", 200)
    assert _load(store, release_id, _ROWS[:50], "new") == 50
    assert store.count(release_id) == 50


def test_the_alias_moves_to_whole_releases_and_moves_back(store):
    first, second = (cluster_release(_EMBEDDER, 10, uuid.uuid4().hex, _INDEX) for _ in range(2))
    for manifest in (first, second):
        _load(store, manifest.release_id, _ROWS[:10], manifest.shards[0].content)
    store.promote(first)
    assert store.promote(second) == first.release_id
    assert store.promote(first) == second.release_id
    assert store.current_id() == first.release_id
    _load(store, second.release_id, _ROWS[:9], "newer")
    with pytest.raises(ReleaseError, match="s000 0 of 10"):
        store.promote(second)


def test_a_backup_brings_a_lost_collection_back(store, client, settings):
    manifest = _new_manifest()
    _load(store, manifest.release_id, _ROWS, manifest.shards[0].content)
    back_up(manifest, manifest.release_id, settings)
    client.collections.delete(f"{settings.alias}_{manifest.release_id}")
    restore(manifest, manifest.release_id, settings)
    assert store.count(manifest.release_id) == 200
