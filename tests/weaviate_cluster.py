"""A cluster of the protocol's double, what is loaded into it, and how it is asked."""

from contextlib import contextmanager

import pyarrow as pa

from forebay.settings import IndexSettings
from forebay.store.access import EVERYTHING
from forebay.store.contract import SearchRequest
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


class Killed(BaseException):
    """The end of a process, as far as the code in it can tell."""


@contextmanager
def served_wire():
    """Serve a double on free ports."""
    held = Wire()
    serve(held)
    yield held
    held.stop()


def batches(rows, size=100, killed_at=None):
    for start in range(0, len(rows), size):
        if killed_at is not None and start >= killed_at:
            raise Killed
        yield pa.RecordBatch.from_pylist(rows[start : start + size])


def held_objects(wire, release_id=RELEASE_ID):
    return dict(wire.objects[f"ForebayChunks_{release_id}"])


def load(store, rows=ROWS, number=0, content="c", release_id=RELEASE_ID, **how):
    store.prepare(release_id, IndexSettings())
    return store.load_partition(release_id, number, content, batches(rows, **how), dim=EMBEDDER.spec.dim)


def request(text, **how):
    """Ask for what everybody may find together."""
    (vector,) = EMBEDDER.embed_queries([text])
    return SearchRequest(text, vector, **{"caller": EVERYTHING, **how})
