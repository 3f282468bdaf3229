"""The product as users meet it: HTTP, the official OpenAI client, the command line."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import psutil
import pytest

from forebay.canary.settling import introduce, reject_by_hand
from forebay.canary.trials import CanaryRegistry
from forebay.releases import ReleaseRegistry
from forebay.settings import ReleaseSettings
from tests.pipeline import ROOT

pytestmark = pytest.mark.e2e

_QUESTION = "where does the penstock lead the water of the forebay?"


@pytest.fixture
def client(services):
    return openai.OpenAI(base_url=f"{services.url}/v1", api_key="none", timeout=120, max_retries=0)


def _ask(client, question, **options):
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model="forebay", messages=messages, **options)


def test_an_answer_is_grounded_in_the_passages_that_it_cites(client, ingested):
    answer = _ask(client, _QUESTION)
    message = answer.choices[0].message
    assert "penstock" in message.content.lower()
    cited = {int(number) for number in re.findall(r"\[(\d+)\]", message.content)}
    assert cited
    assert cited == {citation["n"] for citation in message.citations}
    first = message.citations[0]
    assert (first["doc_id"], first["title"]) == ("penstock.html", "Penstocks")
    assert "penstock leads water" in first["passage"]
    assert answer.grounding in ("generated", "extractive")
    assert answer.release == ingested.release_id


def test_a_stream_says_the_same_as_a_whole_answer(client):
    whole = _ask(client, _QUESTION)
    chunks = list(_ask(client, _QUESTION, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    citations = [
        citation
        for chunk in chunks
        if chunk.choices
        for citation in getattr(chunk.choices[0].delta, "citations", None) or []
    ]
    assert citations == whole.choices[0].message.citations
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens > 0


def test_the_corpus_is_said_not_to_hold_what_it_does_not(client):
    answer = _ask(client, "who won the football world cup in 1998?")
    assert answer.grounding == "refused"
    assert answer.choices[0].message.citations == []
    assert "[" not in answer.choices[0].message.content


def test_models_lists_what_can_be_asked(client):
    assert [model.id for model in client.models.list()] == ["forebay"]


def test_search_gives_passages_and_respects_the_filter(services, ingested):
    body = {"query": "water and turbines", "top_k": 5, "filter": {"format": "markdown"}}
    found = httpx.post(f"{services.url}/v1/search", json=body, timeout=30).json()
    assert found["release"] == ingested.release_id
    assert {hit["doc_id"] for hit in found["hits"]} <= {"guide.md", "penstock.html"}
    assert found["hits"]


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": "hello"}, 400, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "content"),
        ({"model": "gpt-4"}, 404, "gpt-4"),
        ({"max_tokens": -1}, 400, "max_tokens"),
        ({"temperature": 9}, 400, "temperature"),
        ({"n": 3}, 400, "n"),
        ({"messages": [{"role": "user", "content": "x" * 200_000}]}, 400, "200000 characters"),
    ],
)
def test_bad_requests_get_the_openai_error_shape(services, change, status, word):
    body = {"model": "forebay", "messages": [{"role": "user", "content": "hi"}], **change}
    response = httpx.post(f"{services.url}/v1/chat/completions", json=body, timeout=30)
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert word in error["message"] + str(error["param"])
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{not json", 400),
        (b"[]", 400),
        (b"", 400),
        (b"\xff\xfe", 400),
        (b'"' + b"x" * 10_000_000 + b'"', 413),
    ],
)
def test_bodies_that_are_no_request_are_refused(services, content, status):
    headers = {"content-type": "application/json"}
    response = httpx.post(f"{services.url}/v1/chat/completions", content=content, headers=headers, timeout=30)
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_the_client_raises_its_own_errors(client):
    with pytest.raises(openai.NotFoundError, match="nope"):
        client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "hi"}])


def test_a_bad_filter_is_explained(services):
    body = {"query": "x", "filter": {"colour": "red"}}
    response = httpx.post(f"{services.url}/v1/search", json=body, timeout=30)
    assert response.status_code == 400
    assert "colour" in response.json()["error"]["message"]


def test_readiness_tells_the_truth(services, ingested):
    assert httpx.get(f"{services.url}/readyz", timeout=10).status_code == 200
    health = httpx.get(f"{services.url}/health", timeout=10).json()
    assert health["status"] == "ok"
    assert ingested.release_id in json.dumps(health["retriever"])


def test_readiness_asked_by_many_at_once_is_never_denied(services):
    """BentoML's own probe of the services behind closes its session every 100 requests, under those that use it."""

    def ask(_):
        return httpx.get(f"{services.url}/readyz", timeout=30).status_code

    with ThreadPoolExecutor(8) as callers:
        assert set(callers.map(ask, range(300))) == {200}


def test_nothing_but_the_gateway_listens_on_tcp(services):
    processes = [
        psutil.Process(services.process.pid),
        *psutil.Process(services.process.pid).children(recursive=True),
    ]
    listening = {
        connection.laddr
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert services.url.rsplit(":", 1)[1] in {str(address.port) for address in listening}


def test_the_command_line_asks(services):
    command = [sys.executable, "-m", "forebay.cli.main", "ask", _QUESTION, "--url", services.url]
    printed = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True).stdout
    assert "penstock" in printed.lower()
    assert "[1] Penstocks  (penstock.html)" in printed


def test_no_request_fails_while_the_release_changes(services, ingested):
    """The retriever follows the pointer; searches under way are answered."""
    registry = ReleaseRegistry(ingested.paths.releases)
    original = registry.current()
    # The same shards without the last one: another release, so another id.
    smaller = registry.save(original.model_copy(update={"shards": original.shards[:-1]}))
    seen, failures, stop = set(), [], threading.Event()

    def search():
        with httpx.Client(base_url=services.url, timeout=30) as http:
            while not stop.is_set():
                response = http.post("/v1/search", json={"query": "wing", "top_k": 3})
                if response.status_code == 200:
                    seen.add(response.json()["release"])
                else:
                    failures.append(response.text)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for target in (smaller.release_id, original.release_id, smaller.release_id, original.release_id):
            registry.promote(target, shards=ingested.paths.shards)
            _until(lambda target=target: _served(services) == target)
    finally:
        registry.promote(original.release_id, shards=ingested.paths.shards)
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert seen == {original.release_id, smaller.release_id}


def test_a_canary_answers_its_share_and_is_compared(services, ingested):
    registry, canaries = ReleaseRegistry(ingested.paths.releases), CanaryRegistry(ingested.paths.releases)
    original = registry.current()
    smaller = registry.save(original.model_copy(update={"shards": original.shards[:-1]}))
    introduce(smaller.release_id, ingested.paths, ReleaseSettings(canary_share=0.5))
    canary = canaries.current()
    try:
        _until(lambda: _canary(services) == smaller.release_id)
        questions = [f"wing in flow {number}" for number in range(20)]
        wanted = [smaller if canary.takes(question) else original for question in questions]
        for question, manifest in zip(questions, wanted, strict=True):
            response = httpx.post(f"{services.url}/v1/search", json={"query": question}, timeout=30)
            assert response.json()["release"] == manifest.release_id
        _until(lambda: len(canaries.observations(canary).searches) == wanted.count(smaller) > 0)
        assert all(seen.ms and min(seen.ms) > 0 for seen in canaries.observations(canary).searches)
    finally:
        reject_by_hand(ingested.paths)
    _until(lambda: _canary(services) is None)
    assert (
        httpx.post(f"{services.url}/v1/search", json={"query": questions[0]}).json()["release"] == original.release_id
    )


def _canary(services):
    return httpx.get(f"{services.url}/health", timeout=30).json()["retriever"]["canary"]


def _served(services):
    return httpx.post(f"{services.url}/v1/search", json={"query": "x"}, timeout=30).json()["release"]


def _until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the retriever did not follow the pointer"
        time.sleep(0.1)
