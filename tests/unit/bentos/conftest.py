import json
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web

from bentos.gateway.connection import ServiceConnection
from bentos.gateway.passages import Passage
from bentos.gateway.words import ContentWords
from bentos.generator.protocol import GenerationEvent, GenerationRequest, GeneratorStatus
from bentos.retriever.protocol import RetrieverStatus, SearchItem, SearchOutcome
from forebay.chunks import CHUNKS, chunk_id
from forebay.documents import content_hash
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import ServiceError
from forebay.releases import Evaluation, ReleaseManifest, ReleaseRegistry, now
from forebay.settings import IndexSettings
from forebay.store import Hit
from forebay.store.qdrant_edge import QdrantEdgeStore

SPEC = EmbeddingSpec(model="test", revision="r1", dim=8, max_tokens=64, precision="fp32")


@pytest.fixture(scope="session")
def words() -> ContentWords:
    return ContentWords()


def make_hit(text: str, *, doc_id: str = "d1", similarity: float | None = 0.8, title: str = "") -> Hit:
    return Hit(
        chunk_id=chunk_id("test", doc_id, 0),
        doc_id=doc_id,
        score=1.0,
        similarity=similarity,
        title=title,
        text=text,
        uri=f"{doc_id}.txt",
        source="tests",
        heading_path="",
        start_char=0,
        end_char=len(text),
        text_hash=content_hash(text),
    )


@pytest.fixture
def passages(words: ContentWords) -> Callable[..., list[Passage]]:
    def make(*texts: str) -> list[Passage]:
        return [Passage(make_hit(text, doc_id=f"d{n}"), words) for n, text in enumerate(texts, start=1)]

    return make


class ScriptedRetrieval:
    """A retriever that finds what it is told to."""

    def __init__(self, outcome: SearchOutcome | None) -> None:
        self.outcome = outcome
        self.items: list[SearchItem] = []

    async def search(self, item: SearchItem) -> SearchOutcome:
        self.items.append(item)
        if self.outcome is None:
            raise ServiceError("down")
        return self.outcome

    async def status(self) -> RetrieverStatus:
        ready = self.outcome is not None and self.outcome.error is None
        return RetrieverStatus(ready=ready, release="r1" if ready else None, detail="" if ready else "No release.")


class ScriptedGeneration:
    """A generator that says what it is told to, in pieces, and remembers whether its stream was closed."""

    def __init__(self, events: Sequence[GenerationEvent], *, ready: bool = True) -> None:
        self.events = events
        self.ready = ready
        self.requests: list[GenerationRequest] = []
        self.sent = 0
        self.closed = 0

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        self.requests.append(request)
        try:
            for event in self.events:
                self.sent += 1
                yield event
        finally:
            self.closed += 1

    async def status(self) -> GeneratorStatus:
        return GeneratorStatus(ready=self.ready, detail="" if self.ready else "Still loading.")


def say(text: str, *, finish_reason: str = "stop") -> list[GenerationEvent]:
    pieces = [f"{word} " for word in text.split(" ")]
    pieces[-1] = pieces[-1].removesuffix(" ")
    events = [
        GenerationEvent(kind="text", text=piece, prompt_tokens=7, completion_tokens=n)
        for n, piece in enumerate(pieces, start=1)
    ]
    done = {
        "kind": "done",
        "finish_reason": finish_reason,
        "prompt_tokens": 7,
        "completion_tokens": len(pieces),
    }
    return [*events, GenerationEvent.model_validate(done)]


@pytest.fixture
async def serve():
    """Starts a service on a unix socket, all of whose routes are the given handler, and connects to it."""
    started = []

    async def start(handler) -> ServiceConnection:
        app = web.Application()
        app.router.add_post("/{route}", handler)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        # A path of pytest's own is too long for a socket.
        folder = tempfile.TemporaryDirectory()
        await web.UnixSite(runner, f"{folder.name}/s").start()
        connection = ServiceConnection("service", f"file://{folder.name}/s")
        started.append((connection, runner, folder))
        return connection

    yield start
    for connection, runner, folder in started:
        await connection.close()
        await runner.cleanup()
        folder.cleanup()


def unit_vector(position: int) -> np.ndarray:
    vector = np.zeros(SPEC.dim, np.float32)
    vector[position % SPEC.dim] = 1.0
    return vector


class AxisEmbedder:
    """Puts a text on the axis that its first digit names, else on axis 0."""

    spec = SPEC

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        digits = [next((int(c) for c in text if c.isdigit()), 0) for text in texts]
        return np.stack([unit_vector(digit) for digit in digits])

    embed_queries = embed_documents


@pytest.fixture
def release(tmp_path: Path) -> Callable[..., ReleaseManifest]:
    """Builds a real one-shard release of the given texts, perhaps with metadata of each, and saves its manifest."""
    settings = IndexSettings()
    store = QdrantEdgeStore(tmp_path / "shards", SPEC, settings)
    registry = ReleaseRegistry(tmp_path / "releases")

    def build(texts: Sequence[str], metadata: Sequence[dict[str, object]] = ()) -> ReleaseManifest:
        rows = [_row(number, text) for number, text in enumerate(texts)]
        for row, fields in zip(rows, metadata, strict=False):
            row["metadata"] = json.dumps(fields)
        batch = pa.RecordBatch.from_pylist(rows, schema=CHUNKS)
        vectors = pa.array(AxisEmbedder().embed_documents(texts).ravel())
        batch = batch.append_column("vector", pa.FixedSizeListArray.from_arrays(vectors, SPEC.dim))
        ref = store.build_shard(0, content_hash(*texts), [batch])
        manifest = ReleaseManifest(
            corpus="test",
            embedding=SPEC,
            index=settings,
            shards=(ref,),
            documents=len(texts),
            table_versions={},
            evaluation=Evaluation(questions=0),
            created_at=now(),
        )
        return registry.save(manifest)

    return build


def _row(number: int, text: str) -> dict[str, object]:
    values: dict[str, object] = {field.name: "" for field in CHUNKS}
    values |= {"shard": 0, "chunk_no": 0, "start_char": 0, "end_char": len(text), "n_tokens": 1, "page": 0}
    values |= {"chunk_id": chunk_id("test", str(number), 0), "doc_id": str(number), "text": text}
    return values | {"metadata": json.dumps({"number": number}), "locations": "[]", "text_hash": content_hash(text)}
