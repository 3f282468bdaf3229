import asyncio
import json
import os
import signal

import httpx
import pytest

from bentos.gateway.app import Backends, create_app
from bentos.gateway.draining import Drain
from bentos.gateway.errors import ApiError
from forebay.settings import GeneratorSettings, ServingSettings
from tests.unit.bentos.conftest import ScriptedGeneration, ScriptedRetrieval, say
from tests.unit.bentos.test_chat import ASK, FOUND

SENTENCE = "The forebay holds water for the turbines."


class PausingGeneration(ScriptedGeneration):
    """Says a sentence, and the next one once it is let go on."""

    def __init__(self):
        super().__init__(say(f"{SENTENCE} Its gate of the forebay opens at 3 m."))
        self.is_pausing, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def stream(self, request):
        async for event in super().stream(request):
            yield event
            if self.sent == len(SENTENCE.split()) + 1:
                self.is_pausing.set()
                await self.may_go_on.wait()


class HangingRetrieval(ScriptedRetrieval):
    """Never answers."""

    async def search(self, item):
        await asyncio.Event().wait()


@pytest.fixture
async def gateway():
    app, drain = create_app(), Drain(0.2)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as made:

        def serve(retrieval):
            app.state.backends = Backends(retrieval, made.generation, ServingSettings(), GeneratorSettings(), drain)

        made.generation, made.drain, made.serve = PausingGeneration(), drain, serve
        serve(ScriptedRetrieval(FOUND))
        yield made


def ask(gateway, **options):
    return asyncio.create_task(gateway.post("/v1/chat/completions", json={**ASK, **options}))


async def test_a_stream_that_the_drain_overtakes_ends_with_an_error_event(gateway):
    asked = ask(gateway, stream=True)
    await gateway.generation.is_pausing.wait()
    gateway.drain.begin()
    response = await asyncio.wait_for(asked, 5)
    *_, sentence, error = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    assert sentence["choices"][0]["delta"]["content"].startswith(SENTENCE[:-1])
    assert error["error"]["code"] == "shutting_down"
    assert "ask again" in error["error"]["message"]


async def test_an_answer_that_the_drain_overtakes_is_a_503_with_retry_after(gateway):
    asked = ask(gateway)
    await gateway.generation.is_pausing.wait()
    gateway.drain.begin()
    response = await asyncio.wait_for(asked, 5)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "shutting_down")
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_done_in_time_is_whole(gateway, stream):
    asked = ask(gateway, stream=stream)
    await gateway.generation.is_pausing.wait()
    gateway.drain.begin()
    gateway.generation.may_go_on.set()
    response = await asyncio.wait_for(asked, 5)
    assert "opens at 3 m [1]." in response.text
    assert "error" not in response.text


async def test_what_begins_during_the_drain_has_the_same_end(gateway):
    gateway.drain.begin()
    response = await asyncio.wait_for(ask(gateway), 5)
    assert response.json()["error"]["code"] == "shutting_down"


async def test_a_search_keeps_to_the_drain(gateway):
    gateway.serve(HangingRetrieval(FOUND))
    asked = asyncio.create_task(gateway.post("/v1/search", json={"query": "forebay"}))
    await asyncio.sleep(0.05)
    gateway.drain.begin()
    response = await asyncio.wait_for(asked, 5)
    assert response.json()["error"]["code"] == "shutting_down"


async def test_a_deadline_that_is_earlier_stays_its_own():
    drain = Drain(60)
    drain.begin()
    with pytest.raises(TimeoutError):
        async with drain.deadline(asyncio.get_running_loop().time() + 0.01):
            await asyncio.Event().wait()


async def hang(drain):
    async with drain.deadline():
        await asyncio.Event().wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_begins_the_drain_and_reaches_the_handler_before(number):
    handled = []
    before = signal.signal(number, lambda number, frame: handled.append(number))
    drain = Drain(0)
    try:
        drain.begin_on_signals()
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.05)
    finally:
        signal.signal(number, before)
    assert handled == [number]
    with pytest.raises(ApiError, match="shutting down"):
        await asyncio.wait_for(hang(drain), 1)
