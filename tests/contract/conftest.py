"""Fixtures of the suites that every vector store has to pass, and of those of the Weaviate store."""

import pytest

from forebay.store.weaviate_connection import connect
from forebay.store.weaviate_store import WeaviateStore
from forebay.testing import HashEmbedder
from tests.releases import cluster_release
from tests.stores import STORES
from tests.weaviate_cluster import EMBEDDER, ROWS, load, served_wire


@pytest.fixture(scope="module", params=STORES.values(), ids=STORES)
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
def cluster(open_store):
    """Loads rows into a release of their own and opens it, as often as it is called."""
    opened = []

    def loaded(rows=ROWS, **settings):
        store, manifest = open_store(**settings), cluster_release(EMBEDDER, len(rows), "c")
        load(store, rows, release_id=manifest.release_id)
        opened.append(store.open(manifest))
        return opened[-1]

    yield loaded
    for one in opened:
        one.close()
