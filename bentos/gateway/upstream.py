"""What the gateway needs of the services behind it, and the adapters that give it that over BentoML."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import aiohttp
import httpx
from bentoml.exceptions import BentoMLException
from pydantic import ValidationError

from bentos.generator.protocol import GenerationEvent, GenerationRequest, GeneratorStatus
from bentos.retriever.protocol import RetrieverStatus, SearchItem, SearchOutcome
from forebay.errors import ServiceError

__all__ = ["Generation", "RemoteGeneration", "RemoteRetrieval", "Retrieval"]

logger = logging.getLogger("forebay.gateway")

_FAILURES = (BentoMLException, aiohttp.ClientError, TimeoutError, OSError)
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
    """The Retriever service behind `bentoml.depends`."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy

    async def search(self, item: SearchItem) -> SearchOutcome:
        """Search; see `Retrieval.search`."""
        try:
            (outcome,) = await self._proxy.to_async.search([item])
        except _FAILURES as exc:
            raise ServiceError("the retriever can't be reached") from exc
        return SearchOutcome.model_validate(outcome)

    async def status(self) -> RetrieverStatus:
        """Ask it; see `Retrieval.status`."""
        try:
            async with asyncio.timeout(_STATUS_TIMEOUT_S):
                return RetrieverStatus.model_validate(await self._proxy.to_async.status())
        except _FAILURES:
            logger.info("the retriever does not answer")
            return RetrieverStatus(ready=False, detail="The retriever does not answer; it may be starting.")


class RemoteGeneration:
    """The Generator service behind `bentoml.depends`.

    Status goes over BentoML's own client. A stream doesn't: cancelled, that client leaves the response to the
    garbage collector, so vLLM went on generating for callers long gone; and it opens 100 connections at most.
    """

    def __init__(self, proxy: Any, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._proxy = proxy
        self._client: httpx.AsyncClient | None = None
        if transport is not None:
            self._client = httpx.AsyncClient(transport=transport, base_url="http://generator")

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Generate; see `Generation.stream`."""
        client = self._connect()
        try:
            body = {"request": request.model_dump(exclude_none=True)}
            async with client.stream("POST", "/stream_chat", json=body) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    event = GenerationEvent.model_validate_json(line)
                    yield event
                    if event.kind != "text":
                        return
        except (httpx.HTTPError, ValidationError) as exc:
            yield GenerationEvent(kind="error", error="failed", text=f"{type(exc).__name__}: {exc}")
            return
        yield GenerationEvent(kind="error", error="failed", text="the generator's stream ended early")

    async def status(self) -> GeneratorStatus:
        """Ask it; see `Generation.status`."""
        try:
            async with asyncio.timeout(_STATUS_TIMEOUT_S):
                return GeneratorStatus.model_validate(await self._proxy.to_async.status())
        except _FAILURES:
            logger.info("the generator does not answer")
            detail = "The generator does not answer; it may be starting."
            return GeneratorStatus(ready=False, detail=detail)

    def _connect(self) -> httpx.AsyncClient:
        if self._client is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
            address = urlsplit(self._proxy.to_async.url)
            # BentoML names a unix socket `file:///path`, and a port `tcp://host:port` where it can't use one.
            is_socket = address.scheme == "file"
            self._client = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=unquote(address.path) if is_socket else None, limits=limits),
                base_url="http://generator" if is_socket else f"http://{address.netloc}",
                timeout=httpx.Timeout(None, connect=5.0),
            )
        return self._client
