"""Releases that are damaged before they are opened or while they are served, from the retriever up to the gateway."""

import json
import logging
import os
import re
import warnings
from pathlib import Path

import httpx
import pytest

from bentos.gateway.app import Backends, create_app
from bentos.gateway.draining import Drain
from bentos.gateway.health import is_ready
from bentos.retriever.protocol import SearchItem
from forebay.releases import ReleaseRegistry
from forebay.settings import GeneratorSettings, PathSettings, ServingSettings
from forebay.store import search_processes
from tests.plain_model import plain_embedder
from tests.releases import build_release
from tests.unit.bentos.conftest import ScriptedGeneration


@pytest.fixture(scope="module")
def embedder():
    return plain_embedder()


class InProcess:
    """The retriever as the gateway reaches it, without a socket between them."""

    def __init__(self, retriever):
        self._retriever = retriever

    async def search(self, item):
        return self._retriever.search([item])[0]

    async def status(self):
        return await self._retriever.status()


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_DATA", str(tmp_path))
    return PathSettings()


@pytest.fixture
def promote(paths, embedder):
    """Builds a release of one text and makes it the current one; then `harm` is done to its folder."""
    registry = ReleaseRegistry(paths.releases)

    def make(text, harm=lambda folder: None):
        manifest = registry.save(build_release(paths.shards, [("d", "", text, {})], embedder))
        registry.promote(manifest.release_id, shards=paths.shards)
        harm(paths.shards / manifest.shards[0].path)
        return manifest

    return make


@pytest.fixture
def processes():
    return "1"


@pytest.fixture
def retriever(paths, processes, monkeypatch):
    monkeypatch.setenv("FOREBAY_SERVING_SEARCH_PROCESSES", processes)
    own = logging.getLogger("forebay")
    before = own.level, own.handlers, own.propagate
    # BentoML's own: what it is made of has newer ways.
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        from bentos.retriever.service import Retriever

    made = Retriever.inner()
    yield made
    made.close()
    own.level, own.handlers, own.propagate = before


@pytest.fixture
async def gateway(retriever):
    app, backends = create_app(), _backends(retriever)
    app.state.backends = backends
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as made:
        made.is_ready = lambda: is_ready(backends.retrieval, backends.generation)
        yield made


def _backends(retriever):
    return Backends(InProcess(retriever), ScriptedGeneration([]), ServingSettings(), GeneratorSettings(), Drain(1))


def _cut(folder):
    (page,) = folder.rglob("payload_storage/page_0.dat")
    os.truncate(page, 0)


def _change(folder):
    (page,) = folder.rglob("payload_storage/page_0.dat")
    page.write_bytes(bytes(page.stat().st_size))


def _reseal(folder):
    seal = folder / "shard.json"
    held = json.loads(seal.read_bytes())
    held["ref"]["checksum"] = "0" * 32
    seal.write_text(json.dumps(held))


async def _search(gateway):
    return await gateway.post("/v1/search", json={"query": "wing"})


@pytest.mark.parametrize("processes", ["1", "0"])
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_cut, r"the file '[^' ]+/page_0\.dat' of the index shard {shard} was cut, changed or removed"),
        (_change, "its index is damaged"),
        (_reseal, "the index shard {shard} is missing or is not the one that the release names"),
    ],
)
async def test_a_newer_release_that_can_not_be_opened_leaves_the_service_ready_and_is_named(
    promote, gateway, retriever, harm, reason
):
    first = promote("wing lift")
    assert retriever._follower.refresh()
    damaged = promote("wing drag", harm)
    assert not retriever._follower.refresh()
    assert await gateway.is_ready()
    health = await gateway.get("/health")
    assert health.status_code == 200
    document = health.json()
    (problem,) = document["problems"]
    reason = reason.format(shard=Path(damaged.shards[0].path).name)
    assert re.fullmatch(
        f"Release {damaged.release_id} can't be opened: {reason}; the retriever's log says more.", problem
    )
    assert document["status"] == "ok"
    assert document["retriever"]["release"] == first.release_id
    found = (await _search(gateway)).json()
    assert (found["release"], found["hits"][0]["text"]) == (first.release_id, "wing lift")
    good = promote("wing shock")
    assert retriever._follower.refresh()
    assert (await gateway.get("/health")).json()["problems"] == []
    assert (await _search(gateway)).json()["release"] == good.release_id


async def test_a_shard_that_is_cut_while_it_is_served_is_told_until_there_is_a_good_release(
    promote, gateway, retriever, paths, monkeypatch
):
    started, first_process = [], search_processes._Process

    def start(*arguments):
        started.append(first_process(*arguments))
        return started[-1]

    monkeypatch.setattr(search_processes, "_Process", start)
    monkeypatch.setattr(search_processes, "_REOPEN_PAUSE_S", 600.0)
    damaged = promote("wing lift")
    assert retriever._follower.refresh()
    assert (await _search(gateway)).status_code == 200
    _cut(paths.shards / damaged.shards[0].path)
    # As BentoML gives them to it: all that have come meanwhile. Each of them gets an answer, and no process of its own.
    outcomes = retriever.search([SearchItem(question="wing")] * 64)
    assert [outcome.error for outcome in outcomes] == ["failed"] * 64
    assert len(started) == 2
    for _ in range(3):
        assert (await _search(gateway)).status_code == 500
    assert not retriever._follower.refresh()
    assert not await gateway.is_ready()
    health = await gateway.get("/health")
    problem = f"Searches of release {damaged.release_id} fail; the retriever's log says why."
    assert (health.status_code, health.json()["problems"]) == (503, [problem])
    response = await _search(gateway)
    assert (response.status_code, response.json()["error"]["message"]) == (503, problem)
    good = promote("wing shock")
    assert retriever._follower.refresh()
    assert await gateway.is_ready()
    assert (await gateway.get("/health")).json()["problems"] == []
    assert (await _search(gateway)).json()["release"] == good.release_id
