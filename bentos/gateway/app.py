"""The gateway's ASGI application: routes, and nothing of what they do."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from bentos.gateway.answers import Answerer, search_release
from bentos.gateway.body import parse_body, read_body
from bentos.gateway.caller import read_caller
from bentos.gateway.chat import complete, read_question, stream_events
from bentos.gateway.draining import Drain
from bentos.gateway.edge import Edge
from bentos.gateway.errors import ApiError, JsonResponse
from bentos.gateway.health import report_health
from bentos.gateway.openapi import describe_api
from bentos.gateway.protocol import MODEL_ID, ChatRequest, SearchBody
from bentos.gateway.upstream import Generation, Retrieval
from bentos.retriever.protocol import SearchItem
from forebay.settings import GeneratorSettings, ServingSettings

__all__ = ["Backends", "create_app"]

Result = TypeVar("Result")
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(frozen=True)
class Backends:
    """What the routes work with; the service puts it into `app.state.backends` when it starts."""

    retrieval: Retrieval
    """The retriever."""
    generation: Generation
    """The generator."""
    serving: ServingSettings
    """Limits of the API."""
    generator: GeneratorSettings
    """Limits of an answer."""
    drain: Drain
    """What requests under way have to keep to when the process ends."""


async def chat_completions(request: Request) -> Response:
    """`POST /v1/chat/completions`."""
    backends = _backends(request)
    body = parse_body(await read_body(request, backends.serving.max_body_bytes), ChatRequest)
    caller = read_caller(request.headers, backends.serving)
    question = read_question(body, caller, backends.serving, backends.generator)
    answerer = Answerer(backends.retrieval, backends.generation, backends.serving)
    timeout_s = backends.serving.answer_timeout_s
    if not body.stream:
        whole = complete(answerer, question, backends.drain, timeout_s=timeout_s)
        return JsonResponse(await _until_disconnect(request, whole))
    events = stream_events(answerer, question, backends.drain, wants_usage=body.wants_usage, timeout_s=timeout_s)
    # The first event decides between an HTTP error and a stream.
    first = await _until_disconnect(request, anext(events))
    return StreamingResponse(_chain(first, events), media_type="text/event-stream", headers=_STREAM_HEADERS)


async def search(request: Request) -> Response:
    """`POST /v1/search`."""
    backends = _backends(request)
    body = parse_body(await read_body(request, backends.serving.max_body_bytes), SearchBody)
    _check_search(body, backends.serving)
    caller = read_caller(request.headers, backends.serving)
    item = SearchItem(
        question=body.text,
        top_k=body.top_k,
        mode=body.mode,
        filter=body.filter or {},
        tenant=caller.tenant,
        groups=sorted(caller.groups),
        feedback=backends.serving.feedback,
        fusion=backends.serving.fusion,
        diversity=body.diversity,
        neighbours=body.neighbours,
        section=body.section,
        rerank=body.rerank,
    )
    async with backends.drain.deadline():
        outcome = await search_release(backends.retrieval, item)
    return JsonResponse(outcome.model_dump(include={"release", "hits", "rerank"}))


async def list_models(request: Request) -> Response:
    """`GET /v1/models`."""
    model = {"id": MODEL_ID, "object": "model", "created": 0, "owned_by": "forebay"}
    return JsonResponse({"object": "list", "data": [model]})


async def retrieve_model(request: Request) -> Response:
    """`GET /v1/models/{model}`."""
    name = request.path_params["model"]
    if name != MODEL_ID:
        message = f"The model {name[:100]!r} does not exist; this server answers as {MODEL_ID!r}."
        raise ApiError(404, message, param="model", code="model_not_found")
    return JsonResponse({"id": MODEL_ID, "object": "model", "created": 0, "owned_by": "forebay"})


async def health(request: Request) -> Response:
    """`GET /health`."""
    backends = _backends(request)
    ready, document = await report_health(backends.retrieval, backends.generation)
    return JsonResponse(document, 200 if ready else 503)


async def openapi(request: Request) -> Response:
    """`GET /openapi.json`."""
    return JsonResponse(describe_api())


async def not_found(request: Request) -> Response:
    """Everything else: the path is unknown, or known with another method."""
    for route in _ROUTES:
        if route.path_regex.match(request.url.path):
            allowed = ", ".join(sorted(route.methods or ()))
            message = f"{request.url.path} takes {allowed}, not {request.method}."
            raise ApiError(405, message, code="method_not_allowed")
    known = ", ".join(route.path for route in _ROUTES)
    raise ApiError(404, f"There is nothing at {request.url.path[:200]!r}; there are: {known}.", code="not_found")


_ROUTES = [
    Route("/v1/chat/completions", chat_completions, methods=["POST"]),
    Route("/v1/search", search, methods=["POST"]),
    Route("/v1/models", list_models, methods=["GET"]),
    Route("/v1/models/{model:path}", retrieve_model, methods=["GET"]),
    Route("/health", health, methods=["GET"]),
    Route("/openapi.json", openapi, methods=["GET"]),
]
_ANY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_app() -> Starlette:
    """Build the application; `app.state.backends` must be set before the first request."""

    async def refuse(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        return ApiError(exc.status_code, str(exc.detail), code="http_error").response()

    return Starlette(
        routes=[*_ROUTES, Route("/{path:path}", not_found, methods=_ANY_METHOD)],
        middleware=[Middleware(Edge)],
        exception_handlers={HTTPException: refuse},
    )


def _backends(request: Request) -> Backends:
    backends = getattr(request.app.state, "backends", None)
    if backends is None:
        raise ApiError.unavailable("The gateway is starting; try again shortly.", code="starting")
    return backends


def _check_search(body: SearchBody, settings: ServingSettings) -> None:
    if not body.text:
        raise ApiError(400, "The query is empty; send the words to search for.", param="query", code="invalid_value")
    if len(body.text) > settings.max_query_chars:
        message = f"The query has {len(body.text)} characters; at most {settings.max_query_chars} are allowed."
        raise ApiError(400, message, param="query", code="query_too_long")
    if body.top_k > settings.max_top_k:
        message = f"'top_k' is {body.top_k}; at most {settings.max_top_k} hits are returned."
        raise ApiError(400, message, param="top_k", code="invalid_value")


async def _until_disconnect(request: Request, work: Awaitable[Result]) -> Result:
    """Wait for `work`, and cancel it when the client goes away; nobody else would notice."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _chain(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        async for event in rest:
            yield event
    finally:
        await rest.aclose()
