import asyncio
import json
from dataclasses import replace

import httpx
import pytest
from aiohttp import web

from bentos.gateway.app import Backends, create_app
from bentos.gateway.draining import Drain
from bentos.gateway.grounding import REFUSAL
from bentos.gateway.upstream import RemoteGeneration
from bentos.generator.protocol import GenerationEvent
from bentos.retriever.protocol import SearchOutcome
from forebay.settings import GeneratorSettings, ServingSettings
from forebay.store.contract import SectionPart
from tests.unit.bentos.conftest import ScriptedGeneration, ScriptedRetrieval, make_hit, say

PASSAGE = "the forebay holds water for the turbines . its gate opens at 3 m ."
FOUND = SearchOutcome(release="r1", hits=[make_hit(PASSAGE, title="Forebay")])
ASK = {"model": "forebay", "messages": [{"role": "user", "content": "what does a forebay hold"}]}
NOT_READY = [GenerationEvent(kind="error", error="not_ready", text="loading")]


@pytest.fixture
def client():
    clients = []

    def make(outcome=FOUND, events=(), *, ready=True, **limits):
        app = create_app()
        generation = ScriptedGeneration(events, ready=ready)
        retrieval = ScriptedRetrieval(outcome)
        app.state.backends = Backends(retrieval, generation, ServingSettings(**limits), GeneratorSettings(), Drain(1))
        made = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")
        made.generation, made.retrieval = generation, retrieval
        clients.append(made)
        return made

    return make


async def post(client, body, path="/v1/chat/completions"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(path, content=content)


async def test_a_generated_answer_carries_its_citations(client):
    caller = client(events=say("The forebay holds water for the turbines. Cats like milk."))
    document = (await post(caller, ASK)).json()
    message = document["choices"][0]["message"]
    assert message["content"] == "The forebay holds water for the turbines [1]."
    assert [(c["n"], c["doc_id"], c["passage"]) for c in message["citations"]] == [(1, "d1", PASSAGE)]
    assert (document["grounding"], document["release"], document["model"]) == ("generated", "r1", "forebay")
    assert document["usage"] == {"prompt_tokens": 7, "completion_tokens": 10, "total_tokens": 17}
    assert caller.generation.closed == 1


async def test_the_generator_reads_no_more_than_its_budget(client):
    sentences = [f"the forebay number {n} holds water for the turbines ." for n in range(100)]
    found = SearchOutcome(release="r1", hits=[make_hit(" ".join(sentences), title="Forebay")])
    read = {}
    for budget in (16, 100, 400):
        caller = client(found, say("The forebay holds water."), context_tokens=budget)
        await post(caller, ASK)
        read[budget] = len(caller.generation.requests[-1].messages[1]["content"])
    assert 50 < read[16] < 16 * 4 + 150
    assert 16 * 4 + 150 < read[100] < 100 * 4 + 150 < read[400] < 400 * 4 + 150


async def test_an_answer_without_a_supported_sentence_quotes_the_passage(client):
    document = (await post(client(events=say("Cats like milk very much.")), ASK)).json()
    assert document["grounding"] == "extractive"
    assert document["choices"][0]["message"]["content"] == '"the forebay holds water for the turbines" [1].'


async def test_an_irrelevant_question_is_refused_without_the_model(client):
    caller = client(SearchOutcome(release="r1", hits=[make_hit(PASSAGE, similarity=0.1)]))
    body = {"model": "forebay", "messages": [{"role": "user", "content": "who won the world cup"}]}
    document = (await post(caller, body)).json()
    message = document["choices"][0]["message"]
    assert (document["grounding"], message["content"], message["citations"]) == ("refused", REFUSAL, [])
    assert caller.generation.requests == []


async def test_a_stream_carries_the_same_answer_and_ends_with_done(client):
    caller = client(events=say("The forebay holds water for the turbines. Its gate of the forebay opens at 3 m."))
    response = await post(caller, {**ASK, "stream": True, "stream_options": {"include_usage": True}})
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == "The forebay holds water for the turbines [1]. Its gate of the forebay opens at 3 m [1]."
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    last, usage = chunks[-2], chunks[-1]
    assert (last["grounding"], last["release"]) == ("generated", "r1")
    assert last["choices"][0]["finish_reason"] == "stop"
    assert [c["n"] for c in last["choices"][0]["delta"]["citations"]] == [1]
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 23
    assert len({c["id"] for c in chunks}) == 1


async def test_generation_ends_when_the_answer_is_complete(client):
    caller = client(events=say("The forebay holds water for the turbines. " * 50))
    assert (await post(caller, ASK)).status_code == 200
    assert caller.generation.closed == 1
    assert caller.generation.sent < 40


async def test_an_error_after_the_first_sentence_becomes_an_event_of_the_stream(client):
    broken = [*say("The forebay holds water for the turbines. Next words")[:-1]]
    broken.append(GenerationEvent(kind="error", error="failed", text="secret /path in a traceback"))
    response = await post(client(events=broken), {**ASK, "stream": True})
    assert response.status_code == 200
    assert "turbines [1]." in response.text
    last = json.loads(response.text.split("\n\n")[-2].removeprefix("data: "))
    assert last["error"]["code"] == "generator_failed"
    assert "[DONE]" not in response.text
    assert "secret" not in response.text


@pytest.mark.parametrize("stream", [False, True])
async def test_a_generator_that_is_not_ready_is_a_503_with_retry_after(client, stream):
    response = await post(client(events=NOT_READY), {**ASK, "stream": stream})
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["error"]["code"] == "generator_not_ready"


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        SearchOutcome(error="no_release", message="There is no release yet."),
        SearchOutcome(error="unavailable", message="Searches of release r fail; the retriever's log says why."),
    ],
)
async def test_no_release_or_no_retriever_is_a_503_with_a_sentence(client, outcome):
    response = await post(client(outcome), ASK)
    assert response.status_code == 503
    assert response.json()["error"]["message"].endswith(".")
    health = await client(outcome).get("/health")
    assert health.status_code == 503
    assert health.json()["problems"] == ["No release."]


async def test_a_prompt_too_long_for_the_model_is_answered_by_quoting(client):
    events = [GenerationEvent(kind="error", error="too_long", text="maximum context length")]
    document = (await post(client(events=events), ASK)).json()
    assert document["grounding"] == "extractive"


async def test_an_unexpected_error_tells_a_client_nothing_but_its_id(client, caplog):
    caller = client()
    caller.retrieval.search = None
    response = await post(caller, ASK)
    assert response.status_code == 500
    error = response.json()["error"]
    assert response.headers["x-request-id"] in error["message"]
    assert "NoneType" not in response.text
    assert "NoneType" in caplog.text


async def test_the_last_user_message_is_the_question_and_limits_reach_the_model(client):
    caller = client(events=say("The forebay holds water for the turbines."))
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": "what does a forebay hold \ud800"}]},
    ]
    await post(caller, {"model": "forebay", "messages": messages, "max_tokens": 10**6, "temperature": 0.5, "seed": 3})
    assert caller.retrieval.items[0].question == "what does a forebay hold ?"
    (request,) = caller.generation.requests
    assert (request.max_tokens, request.temperature, request.seed) == (512, 0.5, 3)


async def test_search_returns_the_release_and_the_hits(client):
    caller = client()
    response = await post(
        caller, {"query": " gate ", "top_k": 2, "mode": "bm25", "filter": {"source": "x"}}, "/v1/search"
    )
    document = response.json()
    assert document["release"] == "r1"
    assert document["hits"][0]["text"] == PASSAGE
    (item,) = caller.retrieval.items
    assert (item.question, item.top_k, item.mode, item.filter) == ("gate", 2, "bm25", {"source": "x"})
    assert item.diversity == 0
    await post(caller, {"query": "gate", "diversity": 0.4, "neighbours": 2}, "/v1/search")
    assert (caller.retrieval.items[1].diversity, caller.retrieval.items[1].neighbours) == (0.4, 2)
    assert [item.section for item in caller.retrieval.items] == [False, False]


async def test_a_search_may_ask_for_sections(client):
    parts = [SectionPart("c0", 0, 6, "before"), SectionPart("c1", 6, 10, "gate", "fore")]
    found = SearchOutcome(release="r1", hits=[replace(make_hit(PASSAGE), section=parts)])
    caller = client(SearchOutcome.model_validate_json(found.model_dump_json()))
    (hit,) = (await post(caller, {"query": "gate", "section": True}, "/v1/search")).json()["hits"]
    assert caller.retrieval.items[0].section
    assert hit["section"] == [
        {"chunk_id": "c0", "start_char": 0, "end_char": 6, "text": "before", "overlap": ""},
        {"chunk_id": "c1", "start_char": 6, "end_char": 10, "text": "gate", "overlap": "fore"},
    ]


async def test_a_request_can_do_without_reranking_and_a_search_says_what_became_of_it(client):
    caller = client(SearchOutcome(release="r1", hits=FOUND.hits, rerank="over_budget"), say("The forebay holds water."))
    assert (await post(caller, {"query": "gate"}, "/v1/search")).json()["rerank"] == "over_budget"
    await post(caller, {"query": "gate", "rerank": False}, "/v1/search")
    for change in ({}, {"rerank": None}, {"rerank": True}, {"rerank": False}):
        await post(caller, {**ASK, **change})
    assert [item.rerank for item in caller.retrieval.items] == [True, False, True, True, True, False]


async def test_a_bad_filter_is_a_400_with_the_reason(client):
    outcome = SearchOutcome(release="r1", error="bad_filter", message="the filter names an unknown field 'x'.")
    response = await post(client(outcome), {"query": "gate", "filter": {"x": 1}}, "/v1/search")
    assert response.status_code == 400
    assert "unknown field" in response.json()["error"]["message"]


async def test_health_lists_the_parts(client):
    document = (await client().get("/health")).json()
    assert document["status"] == "ok"
    assert document["retriever"]["release"] == "r1"
    response = await client(ready=False).get("/health")
    assert response.status_code == 503
    assert response.json()["problems"] == ["Still loading."]


class HangingGenerator:
    """A generator's handler that never ends its stream, and notices when the caller leaves."""

    def __init__(self):
        self.is_left = asyncio.Event()

    async def handle(self, request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"kind": "text", "text": "a"}\n')
        try:
            await asyncio.Event().wait()
        finally:
            self.is_left.set()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_leaves_ends_the_generation(stream, serve):
    hanging = HangingGenerator()
    app = create_app()
    generation = RemoteGeneration(await serve(hanging.handle))
    app.state.backends = Backends(
        ScriptedRetrieval(FOUND), generation, ServingSettings(), GeneratorSettings(), Drain(1)
    )
    body = json.dumps({**ASK, "stream": stream}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    sent = []

    async def receive():
        if messages:
            return messages.pop()
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [],
        "query_string": b"",
    }
    await asyncio.wait_for(app({**scope, "asgi": {"spec_version": "2.3"}, "root_path": ""}, receive, send), 5)
    await asyncio.wait_for(hanging.is_left.wait(), 5)
    assert sent[0]["status"] == 499


async def test_an_answer_that_takes_too_long_is_a_504(serve):
    app = create_app()
    limits = ServingSettings(answer_timeout_s=0.1)
    generation = RemoteGeneration(await serve(HangingGenerator().handle))
    app.state.backends = Backends(ScriptedRetrieval(FOUND), generation, limits, GeneratorSettings(), Drain(1))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as caller:
        response = await caller.post("/v1/chat/completions", json=ASK)
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "timeout"


@pytest.mark.parametrize("fusion", ["rrf", "relative_score"])
async def test_how_legs_are_joined_is_the_settings_for_searches_and_answers(client, fusion):
    caller = client(events=say("The forebay holds water for the turbines."), fusion=fusion)
    await post(caller, ASK)
    await post(caller, {"query": "what does a forebay hold"}, "/v1/search")
    assert [item.fusion for item in caller.retrieval.items] == [fusion, fusion]
