"""Fixtures of the suites that every vector store has to pass, and of those of the Weaviate store."""

import pytest

from forebay.store.weaviate_connection import connect
from forebay.store.weaviate_store import WeaviateStore
from forebay.testing import HashEmbedder
from tests.releases import cluster_release
from tests.stores import SHARD_STORES, STORES, StoreUnderTest
from tests.weaviate_cluster import EMBEDDER, ROWS, load, served_wire


def pytest_collection_modifyitems(items):
    """Mark the tests that need what a store lacks, so that they say it."""
    for item in items:
        store = item.callspec.params.get("store") if hasattr(item, "callspec") else None
        if isinstance(store, StoreUnderTest):
            for needed in item.iter_markers("needs"):
                if needed.args[0] in store.lacks:
                    item.add_marker(store.lacks[needed.args[0]])


@pytest.fixture(scope="module", params=[pytest.param(held, marks=held.marks, id=name) for name, held in STORES.items()])
def store(request, tmp_path_factory):
    """A started store, which builds and opens releases."""
    with request.param.started(tmp_path_factory.mktemp("store")) as started:
        yield started


@pytest.fixture
def built(store):
    """Builds a release of chunk rows and opens it, as often as it is called."""
    opened = []

    def build(rows, **how):
        opened.append(store.open(store.build(rows, **how)))
        return opened[-1]

    yield build
    for one in opened:
        one.close()


@pytest.fixture(scope="module", params=SHARD_STORES.values(), ids=SHARD_STORES)
def store_type(request):
    return request.param


@pytest.fixture(scope="module")
def embedder():
    return HashEmbedder()


@pytest.fixture
def wire():
    with served_wire() as held:
        yield held


@pytest.fixture
def open_store(wire):
    """Gives a Weaviate store with settings, as often as it is called."""
    clients = []

    def opened(**settings):
        chosen = wire.settings(**settings)
        clients.append(connect(chosen))
        return WeaviateStore(clients[-1], chosen)

    yield opened
    for client in clients:
        client.close()


@pytest.fixture
def cluster(wire, open_store):
    """Loads rows into a release of their own and opens it, as often as it is called; questions count from then on."""
    opened = []

    def loaded(rows=ROWS, **settings):
        store, manifest = open_store(**settings), cluster_release(EMBEDDER, len(rows), "c")
        load(store, rows, release_id=manifest.release_id)
        opened.append(store.open(manifest))
        wire.searches.clear()
        wire.peers.clear()
        return opened[-1]

    yield loaded
    for one in opened:
        one.close()
