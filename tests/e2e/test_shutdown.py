"""Stopping the services: named so that it runs after the tests that use them."""

import json
import re

import httpx
import psutil
import pytest

pytestmark = pytest.mark.e2e

# Several sentences, so that the generator still works on it after the first one.
_ASK = {
    "model": "forebay",
    "messages": [
        {
            "role": "user",
            "content": "what is the influence of the boundary layer on the heat transfer and pressure at high speed, "
            "and how is it measured in the wind tunnel?",
        }
    ],
    "max_tokens": 512,
}


def test_sigterm_lets_a_stream_end_and_leaves_nothing_behind(services):
    url = f"{services.url}/v1/chat/completions"
    whole = httpx.post(url, json=_ASK, timeout=120).json()["choices"][0]["message"]
    family = psutil.Process(services.process.pid).children(recursive=True)
    assert len(family) >= 4
    logged = len(services.log.read_text())
    text = ""
    with httpx.stream("POST", url, json={**_ASK, "stream": True}, timeout=60) as response:
        lines = (line.removeprefix("data: ") for line in response.iter_lines() if line)
        while not text:
            text = _content(next(lines))
        services.process.terminate()
        after = list(lines)
    assert after[-1] == "[DONE]", after[-1]
    assert text != whole["content"], "the question must have an answer of several sentences"
    assert text + "".join(_content(line) for line in after[:-1]) == whole["content"]
    assert services.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert not re.search("Traceback|ERROR", services.log.read_text()[logged:])


def _content(line):
    return json.loads(line)["choices"][0]["delta"].get("content") or ""
