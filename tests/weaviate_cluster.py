"""Clusters for tests, of the protocol's double and a real one, what is loaded into them, and how they are asked."""

import os
import uuid
from contextlib import contextmanager

import pyarrow as pa
import pytest

from forebay.settings import IndexSettings, WeaviateSettings
from forebay.store.access import EVERYTHING
from forebay.store.contract import SearchRequest
from forebay.store.weaviate_connection import connect
from forebay.testing import HashEmbedder
from tests.releases import chunk_rows
from tests.weaviate_wire import Wire, serve

RELEASE_ID = "0123456789abcdef"
EMBEDDER = HashEmbedder()
ROWS = chunk_rows(
    [
        (
            f"d{n}",
            f"title {n}",
            f"wing lift study number{n}",
            {"year": 1950 + n, **({"tenant": "acme"} if n % 3 == 0 else {})},
        )
        for n in range(350)
    ],
    EMBEDDER,
)

NEEDS_SERVER = pytest.mark.skipif(
    "WEAVIATE_URL" not in os.environ,
    reason="needs a Weaviate server: make test-weaviate WEAVIATE_URL=http://127.0.0.1:8080 (docs/weaviate.md)",
)


class Killed(BaseException):
    """The end of a process, as far as the code in it can tell."""


@contextmanager
def served_wire():
    """Serve a double on free ports."""
    held = Wire()
    serve(held)
    yield held
    held.stop()


@contextmanager
def real_cluster():
    """Connect to the server at WEAVIATE_URL, and leave nothing behind; gives client and settings."""
    # An alias of its own: a cluster that serves keeps its collections.
    alias = f"ForebayTest{uuid.uuid4().hex[:8]}"
    settings = WeaviateSettings(url=os.environ["WEAVIATE_URL"], alias=alias, shards=2)
    with connect(settings) as client:
        try:
            yield client, settings
        finally:
            client.alias.delete(alias_name=alias)
            for name in client.collections.list_all():
                if name.startswith(alias):
                    client.collections.delete(name)


def batches(rows, size=100, killed_at=None):
    for start in range(0, len(rows), size):
        if killed_at is not None and start >= killed_at:
            raise Killed
        yield pa.RecordBatch.from_pylist(rows[start : start + size])


def held_objects(wire, release_id=RELEASE_ID):
    return dict(wire.objects[f"ForebayChunks_{release_id}"])


def load(store, rows=ROWS, number=0, content="c", release_id=RELEASE_ID, index=None, **how):
    index = index or IndexSettings()
    store.prepare(release_id, index)
    return store.load_partition(release_id, number, content, batches(rows, **how), dim=EMBEDDER.spec.dim, index=index)


def request(text, **how):
    """Ask for what everybody may find together."""
    (vector,) = EMBEDDER.embed_queries([text])
    return SearchRequest(text, vector, **{"caller": EVERYTHING, **how})
