import json

import httpx
import pytest

from bentos.gateway.app import Backends, create_app
from bentos.gateway.draining import Drain
from bentos.retriever.protocol import SearchOutcome
from forebay.settings import GeneratorSettings, ServingSettings
from tests.unit.bentos.conftest import ScriptedGeneration, ScriptedRetrieval

USER = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def client():
    app = create_app()
    backends = (ScriptedRetrieval(SearchOutcome(release="r1")), ScriptedGeneration([]))
    app.state.backends = Backends(*backends, ServingSettings(), GeneratorSettings(), Drain(1))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as made:
        yield made


def chat(**fields):
    return {"model": "forebay", "messages": USER, **fields}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "forebay"}, 400, "messages"),
        (chat(messages=[]), 400, "messages"),
        (chat(messages="hello"), 400, "messages"),
        (chat(messages=[{"role": "user"}]), 400, "messages"),
        (chat(messages=[{"role": "user", "content": "  "}]), 400, "messages"),
        (chat(messages=[{"role": "system", "content": "x"}]), 400, "messages"),
        (chat(messages=[{"role": "king", "content": "x"}]), 400, "messages.0.role"),
        (chat(messages=[{"content": "x"}]), 400, "messages.0.role"),
        (chat(messages=[{"role": "user", "content": 5}]), 400, "messages.0.content"),
        (chat(messages=[{"role": "user", "content": "x" * 5000}]), 400, "messages"),
        ({"messages": USER}, 400, "model"),
        (chat(model=5), 400, "model"),
        (chat(model="gpt-4"), 404, "model"),
        (chat(max_tokens=-1), 400, "max_tokens"),
        (chat(max_tokens=0), 400, "max_tokens"),
        (chat(max_tokens=1.5), 400, "max_tokens"),
        (chat(max_tokens=True), 400, "max_tokens"),
        (chat(max_completion_tokens=-1), 400, "max_completion_tokens"),
        (chat(temperature=2.1), 400, "temperature"),
        (chat(temperature=-0.1), 400, "temperature"),
        (chat(temperature="0.5"), 400, "temperature"),
        (chat(top_p=0), 400, "top_p"),
        (chat(seed=2**70), 400, "seed"),
        (chat(stream="yes"), 400, "stream"),
        (chat(n=2), 400, None),
        (chat(n=0), 400, None),
        (chat(tools=[{"type": "function"}]), 400, None),
        (chat(tool_choice="required"), 400, None),
        (chat(response_format={"type": "json_object"}), 400, None),
        (chat(logprobs=True), 400, None),
        (chat(stop=["x"]), 400, None),
        (chat(rerank="no"), 400, "rerank"),
        (chat(rerank=0), 400, "rerank"),
    ],
)
async def test_a_bad_chat_request_is_refused_with_a_sentence(client, body, status, param):
    response = await client.post("/v1/chat/completions", content=json.dumps(body))
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert error["message"].endswith(".")
    assert "pydantic" not in response.text


async def test_a_part_that_is_no_text_is_refused(client):
    part = {"type": "image_url", "image_url": {"url": "http://x"}}
    response = await client.post("/v1/chat/completions", json=chat(messages=[{"role": "user", "content": [part]}]))
    assert response.status_code == 400
    assert "image_url" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
async def test_what_is_no_json_object_is_refused(client, body):
    response = await client.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] in {"invalid_json", "missing_required_parameter"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/search"])
@pytest.mark.parametrize("size", [256 * 2**10 + 1, 10 * 2**20])
async def test_a_body_over_the_limit_is_a_413(client, path, size):
    response = await client.post(path, content=b'{"query": "' + b"x" * size)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


async def test_unknown_fields_are_ignored(client):
    fields = chat(user="me", metadata={"a": 1}, made_up=[1], messages=[{"role": "user", "content": "x", "weight": 1}])
    assert (await client.post("/v1/chat/completions", json=fields)).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "query"),
        ({"query": " "}, "query"),
        ({"query": 5}, "query"),
        ({"query": "x" * 5000}, "query"),
        ({"query": "x", "top_k": 0}, "top_k"),
        ({"query": "x", "top_k": 101}, "top_k"),
        ({"query": "x", "top_k": "3"}, "top_k"),
        ({"query": "x", "mode": "magic"}, "mode"),
        ({"query": "x", "filter": []}, "filter"),
        ({"query": "x", "neighbours": 4}, "neighbours"),
        ({"query": "x", "neighbours": -1}, "neighbours"),
        ({"query": "x", "neighbours": 1.5}, "neighbours"),
        ({"query": "x", "section": "yes"}, "section"),
        ({"query": "x", "section": 1}, "section"),
        ({"query": "x", "section": None}, "section"),
        ({"query": "x", "diversity": 1.01}, "diversity"),
        ({"query": "x", "diversity": -0.1}, "diversity"),
        ({"query": "x", "diversity": "0.5"}, "diversity"),
        ({"query": "x", "diversity": True}, "diversity"),
        ({"query": "x", "rerank": "no"}, "rerank"),
        ({"query": "x", "rerank": None}, "rerank"),
    ],
)
async def test_a_bad_search_is_refused_with_a_sentence(client, body, param):
    response = await client.post("/v1/search", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_unknown_paths_and_methods_have_the_same_error_shape(client):
    missing = await client.get("/v1/nothing")
    assert missing.status_code == 404
    assert "/v1/search" in missing.json()["error"]["message"]
    wrong = await client.get("/v1/search")
    assert wrong.status_code == 405
    assert "POST" in wrong.json()["error"]["message"]


async def test_models_are_listed_and_described(client):
    assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["forebay"]
    assert (await client.get("/v1/models/forebay")).json()["id"] == "forebay"
    assert (await client.get("/v1/models/other")).status_code == 404


async def test_every_response_has_a_request_id(client):
    first, second = await client.get("/v1/models"), await client.get("/v1/nothing")
    assert len(first.headers["x-request-id"]) == 32
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
