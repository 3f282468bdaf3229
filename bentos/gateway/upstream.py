"""What the gateway needs of the services behind it, and the adapters that give it that over HTTP."""

import logging
from collections.abc import AsyncGenerator
from typing import Protocol

from pydantic import TypeAdapter

from bentos.gateway.connection import ServiceConnection
from bentos.generator.protocol import GenerationEvent, GenerationRequest, GeneratorStatus
from bentos.retriever.protocol import RetrieverStatus, SearchItem, SearchOutcome
from forebay.errors import ServiceError

__all__ = ["Generation", "RemoteGeneration", "RemoteRetrieval", "Retrieval"]

logger = logging.getLogger("forebay.gateway")

_OUTCOMES = TypeAdapter(tuple[SearchOutcome])
_SEARCH_TIMEOUT_S = 30.0
_STATUS_TIMEOUT_S = 3.0


class Retrieval(Protocol):
    """Searches the current release."""

    async def search(self, item: SearchItem) -> SearchOutcome:
        """Search.

        Raises:
            ServiceError: the retriever can't be reached, or is overloaded.
        """
        ...

    async def status(self) -> RetrieverStatus:
        """Tell which release is searched; never raises."""
        ...


class Generation(Protocol):
    """Streams completions."""

    def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Generate; the last event is `done` or `error`. Closing the stream ends the generation."""
        ...

    async def status(self) -> GeneratorStatus:
        """Tell what is served; never raises."""
        ...


class RemoteRetrieval:
    """The Retriever service."""

    def __init__(self, connection: ServiceConnection) -> None:
        self._connection = connection

    async def search(self, item: SearchItem) -> SearchOutcome:
        """Search; see `Retrieval.search`."""
        body = {"items": [item.model_dump()]}
        async with self._connection.post("/search", body, timeout_s=_SEARCH_TIMEOUT_S) as response:
            (outcome,) = _OUTCOMES.validate_json(await response.read())
            return outcome

    async def status(self) -> RetrieverStatus:
        """Ask it; see `Retrieval.status`."""
        try:
            async with self._connection.post("/status", {}, timeout_s=_STATUS_TIMEOUT_S) as response:
                return RetrieverStatus.model_validate_json(await response.read())
        except ServiceError:
            logger.info("the retriever does not answer")
            return RetrieverStatus(ready=False, detail="The retriever does not answer; it may be starting.")


class RemoteGeneration:
    """The Generator service."""

    def __init__(self, connection: ServiceConnection) -> None:
        self._connection = connection

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Generate; see `Generation.stream`."""
        body = {"request": request.model_dump(exclude_none=True)}
        try:
            async with self._connection.post("/stream_chat", body) as response:
                async for line in response.content:
                    event = GenerationEvent.model_validate_json(line)
                    yield event
                    if event.kind != "text":
                        return
        except ServiceError as exc:
            yield GenerationEvent(kind="error", error="failed", text=str(exc))
            return
        yield GenerationEvent(kind="error", error="failed", text="the generator's stream ended early")

    async def status(self) -> GeneratorStatus:
        """Ask it; see `Generation.status`."""
        try:
            async with self._connection.post("/status", {}, timeout_s=_STATUS_TIMEOUT_S) as response:
                return GeneratorStatus.model_validate_json(await response.read())
        except ServiceError:
            logger.info("the generator does not answer")
            return GeneratorStatus(ready=False, detail="The generator does not answer; it may be starting.")
