import threading

import pytest

from bentos.retriever import searching
from bentos.retriever.protocol import SearchItem
from bentos.retriever.searching import answer_batch, is_searchable
from bentos.retriever.switching import Opened, ReleaseFollower
from forebay.errors import ReleaseError
from forebay.releases import ReleaseRegistry
from forebay.settings import IndexSettings, PathSettings
from forebay.store.qdrant_edge import QdrantEdgeStore
from tests.unit.bentos.conftest import SPEC, AxisEmbedder


class ClosingRelease:
    """A real release that remembers when it was closed, and with how many searches under way."""

    def __init__(self, inner):
        self.inner, self.manifest = inner, inner.manifest
        self.searching, self.closed_while_searching, self.is_closed = 0, None, False
        self.fails_for = lambda _: False

    def search(self, requests):
        self.searching += 1
        try:
            if any(self.fails_for(request.text) for request in requests):
                raise RuntimeError("the store is gone")
            return self.inner.search(requests)
        finally:
            self.searching -= 1

    def close(self):
        self.closed_while_searching, self.is_closed = self.searching, True
        self.inner.close()


@pytest.fixture
def follower(tmp_path):
    opened = []
    store = QdrantEdgeStore(tmp_path / "shards", SPEC, IndexSettings())

    def open_release(manifest):
        release = ClosingRelease(store.open(manifest))
        opened.append(release)
        return Opened(release, AxisEmbedder())

    made = ReleaseFollower(ReleaseRegistry(tmp_path / "releases"), open_release, probe=is_searchable)
    made.opened = opened
    yield made
    made.stop()


@pytest.fixture
def registry(tmp_path):
    return ReleaseRegistry(tmp_path / "releases")


@pytest.fixture
def promote(registry, tmp_path):
    return lambda manifest: registry.promote(manifest.release_id, shards=tmp_path / "shards")


def test_without_a_release_every_item_says_so_until_the_first_appears(follower, promote, release):
    assert not follower.refresh()
    (outcome,) = answer_batch(follower, [SearchItem(question="x")])
    assert (outcome.error, outcome.hits) == ("no_release", [])
    assert "no release yet" in outcome.message
    manifest = release(["text 1", "text 2"])
    promote(manifest)
    assert follower.refresh()
    (outcome,) = answer_batch(follower, [SearchItem(question="2")])
    assert (outcome.language, outcome.fallback_language) == ("document", "english")
    assert (outcome.release, outcome.error) == (manifest.release_id, None)
    assert outcome.hits[0].text == "text 2"
    assert follower.problem == ""


def test_a_release_that_is_still_being_opened_is_not_said_to_be_missing(registry, promote, release):
    manifest = release(["text 1"])
    promote(manifest)
    told = []

    def open_release(_):
        told.append(follower.problem)
        raise ReleaseError("it is damaged")

    follower = ReleaseFollower(registry, open_release)
    assert "just started" in follower.problem
    follower.refresh()
    assert told == [f"Release {manifest.release_id} is being opened; try again shortly."]


def test_a_search_under_way_keeps_its_release_open(follower, promote, release):
    first, second = release(["old 1"]), release(["new 1"])
    promote(first)
    follower.refresh()
    with follower.lease() as held:
        promote(second)
        assert follower.refresh()
        assert follower.manifest.release_id == second.release_id
        assert not follower.opened[0].is_closed
        assert held.release.search([]) == []
    assert follower.opened[0].is_closed
    assert not follower.opened[1].is_closed


def test_an_unused_release_is_closed_at_once(follower, promote, release):
    first, second = release(["old 1"]), release(["new 1"])
    promote(first)
    follower.refresh()
    promote(second)
    follower.refresh()
    assert follower.opened[0].is_closed


def test_a_damaged_release_leaves_the_old_one_serving(follower, promote, release, tmp_path, caplog):
    first, second = release(["old 1"]), release(["new 1"])
    promote(first)
    follower.refresh()
    promote(second)
    broken = tmp_path / "shards" / second.shards[0].path / "frequencies.npz"
    broken.write_bytes(b"")
    for _ in range(3):
        assert not follower.refresh()
    assert caplog.text.count("can't be served") == 1
    reason = f"the file 'frequencies.npz' of the index shard {broken.parent.name} was cut, changed or removed"
    assert follower.problem == f"Release {second.release_id} can't be opened: {reason}; the retriever's log says more."
    (outcome,) = answer_batch(follower, [SearchItem(question="1")])
    assert (outcome.release, outcome.hits[0].text) == (first.release_id, "old 1")
    promote(first)
    follower.refresh()
    assert follower.problem == ""


def _errors(follower, questions):
    return [answer_batch(follower, [SearchItem(question=question)])[0].error for question in questions]


def test_a_release_that_can_no_longer_be_searched_is_not_ready_until_it_can(follower, promote, release):
    manifest = release(["text 1"])
    promote(manifest)
    follower.refresh()
    follower.opened[0].fails_for = lambda _: True
    assert _errors(follower, ["1", "1"]) == ["failed", "failed"]
    follower.refresh()
    assert follower.is_ready
    assert _errors(follower, ["1"]) == ["failed"]
    follower.refresh()
    assert not follower.is_ready
    assert follower.problem == f"Searches of release {manifest.release_id} fail; the retriever's log says why."
    (outcome,) = answer_batch(follower, [SearchItem(question="1")])
    assert (outcome.error, outcome.message) == ("unavailable", follower.problem)
    follower.opened[0].fails_for = lambda _: False
    follower.refresh()
    assert (follower.is_ready, follower.problem) == (True, "")
    assert _errors(follower, ["1"]) == [None]


def test_a_question_that_fails_takes_the_release_from_nobody(follower, promote, release):
    promote(release(["text 1"]))
    follower.refresh()
    follower.opened[0].fails_for = lambda text: text == "poison 1"
    assert _errors(follower, ["poison 1"] * 5) == ["failed"] * 5
    follower.refresh()
    assert follower.is_ready
    assert _errors(follower, ["1", "poison 1"]) == [None, "failed"]


def test_another_release_is_ready_at_once(follower, promote, release):
    first, second = release(["old 1"]), release(["new 1"])
    promote(first)
    follower.refresh()
    follower.opened[0].fails_for = lambda _: True
    _errors(follower, ["1"] * 3)
    follower.refresh()
    assert not follower.is_ready
    promote(second)
    assert follower.refresh()
    assert follower.is_ready
    assert _errors(follower, ["1"]) == [None]


def test_no_search_fails_while_releases_switch(follower, promote, release):
    manifests = [release([f"version {number} of 1"]) for number in range(4)]
    promote(manifests[0])
    follower.refresh()
    stop, outcomes = threading.Event(), []

    def search():
        while not stop.is_set():
            outcomes.extend(answer_batch(follower, [SearchItem(question="1"), SearchItem(question="1", mode="bm25")]))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for manifest in manifests[1:]:
        seen = len(outcomes)
        while len(outcomes) < seen + 30:
            stop.wait(0.001)
        promote(manifest)
        assert follower.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert {outcome.error for outcome in outcomes} == {None}
    assert {outcome.release for outcome in outcomes} >= {manifest.release_id for manifest in manifests[:3]}
    assert all(len(outcome.hits) == 1 for outcome in outcomes)
    assert [opened.closed_while_searching for opened in follower.opened[:3]] == [0, 0, 0]


def test_one_thread_embeds_whoever_searches(tmp_path, registry, promote, release):
    """Every thread that computes gets OpenMP helpers of its own; too many of them sleep after each step."""
    promote(release(["text 1"]))
    store = QdrantEdgeStore(tmp_path / "shards", SPEC, IndexSettings())
    seen = []

    class Watched(AxisEmbedder):
        def embed_queries(self, texts):
            seen.append(threading.get_ident())
            return super().embed_queries(texts)

    follower = ReleaseFollower(registry, lambda manifest: Opened(store.open(manifest), Watched()))
    follower.refresh()
    callers = [threading.Thread(target=answer_batch, args=(follower, [SearchItem(question="1")])) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    answer_batch(follower, [SearchItem(question="1")])
    follower.stop()
    assert len(seen) == 4
    assert len(set(seen)) == 1


@pytest.mark.parametrize("processes", [0, 1, 3])
def test_every_process_has_searched_before_a_release_is_served(tmp_path, release, monkeypatch, processes):
    paths = PathSettings(data=tmp_path)
    monkeypatch.setattr(searching, "load_embedder", lambda *_, **__: AxisEmbedder())
    opened = searching.open_release(release(["text 1"]), paths, processes)
    try:
        asked = [process._asked for process in getattr(opened.release, "_processes", [])]
        assert asked == [1] * processes
    finally:
        opened.release.close()


def test_a_bad_filter_fails_its_item_only(follower, promote, release):
    promote(release(["text 1", "text 2"]))
    follower.refresh()
    items = [
        SearchItem(question="1"),
        SearchItem(question="1", filter={"nonsense": 1}),
        SearchItem(question="1", filter={"doc_id": [{}]}),
        SearchItem(question="1", filter={"metadata.number": 2**80}),
        SearchItem(question="2", filter={"doc_id": "0"}),
    ]
    outcomes = answer_batch(follower, items)
    assert [outcome.error for outcome in outcomes] == [None, "bad_filter", "bad_filter", "bad_filter", None]
    assert "nonsense" in outcomes[1].message
    assert [hit.doc_id for hit in outcomes[4].hits] == ["0"]


def test_options_of_an_item_reach_the_index(follower, promote, release):
    promote(release(["same 1", "same 1 too", "other 2"]))
    follower.refresh()
    seen, inner = [], follower.opened[0].inner.search
    follower.opened[0].inner.search = lambda requests: seen.extend(requests) or inner(requests)
    options = {"mode": "dense", "top_k": 2, "neighbours": 2, "section": True, "feedback": False}
    options |= {"fusion": "relative_score"}
    item = SearchItem(question="1", diversity=0.9, **options)
    plain, diverse = answer_batch(follower, [item.model_copy(update={"diversity": 0.0}), item])
    assert {hit.text for hit in plain.hits} == {"same 1", "same 1 too"}
    assert diverse.hits[1].text == "other 2"
    asked = seen[1]
    assert asked.text == "1"
    assert {name: getattr(asked, name) for name in options} == options


def test_the_thread_follows_the_pointer(follower, promote, release):
    follower.start(0.01)
    manifest = release(["text 1"])
    promote(manifest)
    deadline = threading.Event()
    for _ in range(500):
        if follower.manifest is not None:
            break
        deadline.wait(0.01)
    assert follower.manifest.release_id == manifest.release_id
