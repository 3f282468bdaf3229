"""A retriever whose release lies in Weaviate is ready as long as it can be searched there."""

import time

import pytest

from bentos.retriever.holding import Opened
from bentos.retriever.protocol import SearchItem
from bentos.retriever.searching import answer_batch, is_searchable
from bentos.retriever.switching import ReleaseFollower
from forebay.releases import ReleaseRegistry
from forebay.settings import IndexSettings
from tests.releases import cluster_release
from tests.weaviate_cluster import EMBEDDER, ROWS, load
from tests.weaviate_wire import Fault, serve

_RELEASE = cluster_release(EMBEDDER, 20, "c", IndexSettings(store="weaviate"))
_NAME = f"ForebayChunks_{_RELEASE.release_id}"
_COMES_BACK_S = 60


@pytest.fixture
def follower(wire, open_store, tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_WEAVIATE_URL", wire.url)
    monkeypatch.setenv("FOREBAY_WEAVIATE_GRPC_PORT", str(wire.grpc_port))
    store = open_store(search_deadline_s=0.5)
    load(store, ROWS[:20], release_id=_RELEASE.release_id)
    registry = ReleaseRegistry(tmp_path / "releases")
    registry.save(_RELEASE)
    registry.promote(_RELEASE.release_id, shards=tmp_path / "shards")
    made = ReleaseFollower(registry, lambda manifest: Opened(store.open(manifest), EMBEDDER), probe=is_searchable)
    assert made.refresh()
    assert made.is_ready
    yield made
    made.stop()


def _errors(follower, count=1):
    return [answer_batch(follower, [SearchItem(question="number17")])[0].error for _ in range(count)]


def _require_unready(follower):
    assert _errors(follower, 3) == ["failed"] * 3
    follower.refresh()
    assert not follower.is_ready
    assert _RELEASE.release_id in follower.problem
    (outcome,) = answer_batch(follower, [SearchItem(question="number17")])
    assert (outcome.error, outcome.message) == ("unavailable", follower.problem)
    follower.refresh()
    assert not follower.is_ready


def _require_ready(follower):
    assert (follower.is_ready, follower.problem) == (True, "")
    (outcome,) = answer_batch(follower, [SearchItem(question="study number17")])
    assert (outcome.error, outcome.release, outcome.hits[0].doc_id) == (None, _RELEASE.release_id, "d17")


def test_a_cluster_that_goes_away_makes_the_retriever_unready_until_it_is_back(wire, follower):
    wire.stop()
    _require_unready(follower)
    serve(wire)
    # Channels try again by themselves, the later the longer a server was away.
    deadline = time.monotonic() + _COMES_BACK_S
    while not follower.is_ready and time.monotonic() < deadline:
        follower.refresh()
    _require_ready(follower)


def test_a_cluster_whose_searches_fail_makes_the_retriever_unready_until_they_work(wire, follower):
    wire.faults["search"] = [Fault("resource_exhausted")] * 100
    _require_unready(follower)
    wire.faults["search"].clear()
    follower.refresh()
    _require_ready(follower)


def test_a_collection_that_is_deleted_makes_the_retriever_unready_until_it_is_restored(wire, follower):
    definition, objects = wire.classes[_NAME], wire.objects[_NAME]
    wire.drop(_NAME)
    _require_unready(follower)
    wire.classes[_NAME], wire.objects[_NAME] = definition, objects
    follower.refresh()
    _require_ready(follower)


def test_one_failed_search_takes_the_release_from_nobody(wire, follower):
    wire.faults["search"] = [Fault("internal")] * 100
    assert _errors(follower) == ["failed"]
    follower.refresh()
    assert follower.is_ready
    wire.faults["search"].clear()
    _require_ready(follower)
