"""Stopping the services: named so that it runs after the tests that use them."""

import json
import re

import httpx
import psutil
import pytest

pytestmark = pytest.mark.e2e

_TRIES = 12


def _asks(source):
    """Give requests, of which at least one should get an answer of several sentences."""
    questions = [json.loads(line)["text"] for line in (source / "queries.jsonl").read_text("utf-8").splitlines()]
    for question in questions[:_TRIES]:
        yield {"model": "forebay", "messages": [{"role": "user", "content": question}], "max_tokens": 512}


def _answer_of_several_sentences(url, source):
    """Ask until the generator still has something to say after its first piece of text."""
    for ask in _asks(source):
        with httpx.stream("POST", url, json={**ask, "stream": True}, timeout=120) as response:
            events = [line.removeprefix("data: ") for line in response.iter_lines() if line]
        pieces = [piece for event in events[:-1] if (piece := _content(event))]
        if len(pieces) > 1:
            return ask, "".join(pieces)
    pytest.fail("no question has an answer of several sentences, so nothing can be cut off in the middle")


def test_sigterm_lets_a_stream_end_and_leaves_nothing_behind(services, ingested):
    url = f"{services.url}/v1/chat/completions"
    ask, whole = _answer_of_several_sentences(url, ingested.source)
    family = psutil.Process(services.process.pid).children(recursive=True)
    assert len(family) >= 4
    logged = len(services.log.read_text())
    text = ""
    with httpx.stream("POST", url, json={**ask, "stream": True}, timeout=60) as response:
        lines = (line.removeprefix("data: ") for line in response.iter_lines() if line)
        while not text:
            text = _content(next(lines))
        services.process.terminate()
        after = list(lines)
    assert after[-1] == "[DONE]", after[-1]
    assert text != whole
    assert text + "".join(_content(line) for line in after[:-1]) == whole
    assert services.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert not re.search("Traceback|ERROR", services.log.read_text()[logged:])


def _content(line):
    return json.loads(line)["choices"][0]["delta"].get("content") or ""
