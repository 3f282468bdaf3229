import json

import pytest
from aiohttp import web

from bentos.gateway.connection import ServiceConnection
from bentos.gateway.upstream import RemoteGeneration, RemoteRetrieval
from bentos.generator.protocol import GenerationRequest, GeneratorStatus
from bentos.retriever.protocol import RetrieverStatus, SearchItem, SearchOutcome
from forebay.errors import ServiceError
from tests.unit.bentos.conftest import make_hit

ITEM = SearchItem(question="gate", top_k=2, mode="bm25", filter={"source": ["x", "\ud800"]})
FOUND = SearchOutcome(release="r1", hits=[make_hit("the gate opens at 3 m \u00e4", title="Forebay")])


def answering(status=200, text=""):
    async def handle(request):
        return web.Response(status=status, text=text)

    return handle


async def test_a_search_reaches_the_retriever_and_its_outcome_comes_back(serve):
    seen = []

    async def handle(request):
        seen.append((request.path, request.transport, await request.json()))
        return web.Response(text=f"[{FOUND.model_dump_json()}]")

    retrieval = RemoteRetrieval(await serve(handle))
    outcomes = [await retrieval.search(ITEM) for _ in range(3)]
    assert [outcome.model_dump_json() for outcome in outcomes] == [FOUND.model_dump_json()] * 3
    (path, transport, body) = seen[0]
    # Half a surrogate pair can't be sent.
    item = {"question": "gate", "top_k": 2, "mode": "bm25", "filter": {"source": ["x", "?"]}}
    item |= {"tenant": None, "groups": [], "feedback": True, "fusion": "rrf", "diversity": 0.0}
    item |= {"neighbours": 0, "section": False, "rerank": True}
    assert (path, body) == ("/search", {"items": [item]})
    assert {id(used) for _, used, _ in seen} == {id(transport)}


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "Traceback"),
        (503, "overloaded"),
        # It reads like an outcome, but the status says that it is none.
        (503, "[{}]"),
        (400, "{}"),
        (200, ""),
        (200, "[]"),
        (200, "[{}, {}]"),
        (200, '[{"hits": 1}]'),
    ],
)
async def test_a_retriever_that_fails_or_answers_nonsense_is_a_service_error(serve, status, text):
    with pytest.raises(ServiceError, match="the service can't be used"):
        await RemoteRetrieval(await serve(answering(status, text))).search(ITEM)


@pytest.mark.parametrize("url", ["file:///nowhere/socket", "tcp://127.0.0.1:9"])
async def test_services_that_are_not_there_are_told_from_the_caller(url):
    connection = ServiceConnection("retriever", url)
    with pytest.raises(ServiceError, match="retriever"):
        await RemoteRetrieval(connection).search(ITEM)
    assert "does not answer" in (await RemoteRetrieval(connection).status()).detail
    assert not (await RemoteGeneration(connection).status()).ready
    request = GenerationRequest(messages=[], max_tokens=1)
    assert [event.error async for event in RemoteGeneration(connection).stream(request)] == ["failed"]
    await connection.close()


async def test_the_status_of_both_services_comes_back(serve):
    retriever, generator = RetrieverStatus(ready=True, release="r1", chunks=3), GeneratorStatus(ready=True, kind="awq")
    assert await RemoteRetrieval(await serve(answering(text=retriever.model_dump_json()))).status() == retriever
    assert await RemoteGeneration(await serve(answering(text=generator.model_dump_json()))).status() == generator


async def test_a_service_on_a_port_is_reached(unused_tcp_port):
    app = web.Application()
    app.router.add_post("/search", answering(text=json.dumps([{"release": "r2"}])))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    connection = ServiceConnection("retriever", f"tcp://127.0.0.1:{unused_tcp_port}")
    assert (await RemoteRetrieval(connection).search(ITEM)).release == "r2"
    await connection.close()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (500, "Traceback", "failed"),
        (200, "", "failed"),
        (200, "nonsense\n", "failed"),
        (200, '{"kind": "error", "error": "busy"}\n', "busy"),
        (200, '{"kind": "text", "text": "\\u00e4"}\n{"kind": "done"}\n', None),
    ],
)
async def test_the_generators_stream_always_ends_with_done_or_error(serve, status, text, error):
    generation = RemoteGeneration(await serve(answering(status, text)))
    request = GenerationRequest(messages=[{"role": "user", "content": "x"}], max_tokens=1)
    events = [event async for event in generation.stream(request)]
    assert events[-1].error == error
    if error is None:
        assert [(event.kind, event.text) for event in events] == [("text", "ä"), ("done", "")]
