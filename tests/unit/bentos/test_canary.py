"""Canaries through the retriever's own code, on real releases."""

import pytest

from bentos.retriever.canary_traffic import CanaryTraffic
from bentos.retriever.protocol import SearchItem
from bentos.retriever.searching import answer_batch, answer_on
from bentos.retriever.switching import Opened, ReleaseFollower
from forebay.canary.settling import introduce, settle
from forebay.canary.trials import CanaryRegistry
from forebay.canary.verdict import Verdict
from forebay.releases import ReleaseRegistry
from forebay.settings import IndexSettings, PathSettings, ReleaseSettings
from forebay.store.qdrant_edge import QdrantEdgeStore
from tests.releases import build_release
from tests.unit.bentos.conftest import SPEC, AxisEmbedder

_ON = ReleaseSettings(canary_share=0.5, canary_min_searches=100, canary_max_slowdown=20)
_TEXTS = ["text 1", "text 2", "text 3"]
_QUESTIONS = [f"{1 + number % 3} asked {number}" for number in range(300)]


class OtherEmbedder(AxisEmbedder):
    """The same vectors under another model's name."""

    spec = SPEC.model_copy(update={"model": "other"})


class WatchedRelease:
    """A real release that can be told to fail, and remembers that it was closed."""

    def __init__(self, inner):
        self.inner, self.manifest = inner, inner.manifest
        self.failures_left, self.is_closed = 0, False

    def search(self, requests):
        if self.failures_left:
            self.failures_left -= 1
            raise RuntimeError("a disk is gone")
        return self.inner.search(requests)

    def close(self):
        self.is_closed = True
        self.inner.close()


class Retriever:
    """What the service is made of, without the server."""

    def __init__(self, folder):
        self.paths, self.opened, self.unreadable = PathSettings(data=folder), {}, set()
        self.registry = ReleaseRegistry(self.paths.releases)
        self.canaries = CanaryRegistry(self.paths.releases)
        self.follower = ReleaseFollower(self.registry, self._open, self.canaries)
        self.traffic = CanaryTraffic(
            self.follower, self.canaries, lambda opened, item: answer_on(opened, [item])[0], min_relevance=0.35
        )

    def _open(self, manifest):
        if manifest.release_id in self.unreadable:
            raise OSError("the disk does not answer")
        store = QdrantEdgeStore(self.paths.shards, manifest.embedding, IndexSettings())
        release = WatchedRelease(store.open(manifest))
        self.opened.setdefault(manifest.release_id, []).append(release)
        return Opened(release, AxisEmbedder())

    def introduce(self, *manifests):
        for manifest in manifests:
            introduce(manifest.release_id, self.paths, _ON)
            self.follower.refresh()

    def ask(self, questions=_QUESTIONS, **options):
        items = [SearchItem(question=question, **options) for question in questions]
        outcomes = []
        for start in range(0, len(items), 10):
            outcomes += answer_batch(self.follower, items[start : start + 10], traffic=self.traffic)
            self.traffic.wait()
        return outcomes

    def settle(self):
        settled = settle(self.paths, _ON)
        self.follower.refresh()
        return settled


_RELEASES = {
    "old": [(text, {}) for text in [*_TEXTS, "only in the old one"]],
    "new": [(text, {}) for text in [*_TEXTS, "only in the new one"]],
    "other": [(text, {}) for text in _TEXTS],
    # Nothing that the caller may find; nothing that is near the questions.
    "hidden": [(text, {"tenant": "acme"}) for text in _TEXTS],
    "far": [("text 7", {})],
    "other model": [("text 7", {})],
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Shards of some real releases, which are only read, and their manifests."""
    shards = tmp_path_factory.mktemp("built")
    manifests = {
        name: build_release(
            shards,
            [(text, "", text, fields) for text, fields in texts],
            OtherEmbedder() if name == "other model" else AxisEmbedder(),
            shards=1,
        )
        for name, texts in _RELEASES.items()
    }
    return shards, manifests


@pytest.fixture
def old(built):
    return built[1]["old"]


@pytest.fixture
def new(built):
    return built[1]["new"]


@pytest.fixture
def retriever(tmp_path, built):
    shards, manifests = built
    (tmp_path / "shards").symlink_to(shards)
    made = Retriever(tmp_path)
    for manifest in manifests.values():
        made.registry.save(manifest)
    yield made
    made.traffic.close()
    made.follower.stop()


def test_each_item_of_a_batch_gets_the_release_of_its_question(retriever, old, new):
    retriever.introduce(old, new)
    canary = retriever.canaries.current()
    wanted = [new if canary.takes(question) else old for question in _QUESTIONS]
    outcomes = retriever.ask()
    assert [outcome.release for outcome in outcomes] == [manifest.release_id for manifest in wanted]
    assert 0.4 < wanted.count(new) / len(wanted) < 0.6
    assert all(outcome.hits[0].text == f"text {q[0]}" for q, outcome in zip(_QUESTIONS, outcomes, strict=True))
    assert [outcome.release for outcome in retriever.ask()] == [manifest.release_id for manifest in wanted]
    found = {outcome.release: {hit.text for hit in outcome.hits} for outcome in outcomes}
    assert "only in the new one" in found[new.release_id] - found[old.release_id]
    # Where nobody takes the canary's answers, it gives none.
    items = [SearchItem(question=question) for question in _QUESTIONS]
    assert {outcome.release for outcome in answer_batch(retriever.follower, items)} == {old.release_id}


def test_a_good_canary_is_promoted_without_being_opened_again(retriever, old, new):
    retriever.introduce(old, new)
    retriever.ask()
    settled = retriever.settle()
    assert settled.verdict is Verdict.PROMOTE, settled.reason
    assert settled.comparison.searches > 100
    assert settled.comparison.overlap10 == 0.75
    assert settled.comparison.similarity == (1.0, 1.0)
    assert min(latency.p95_ms for latency in settled.comparison.latency) > 0
    assert (retriever.registry.current_id(), retriever.follower.canary) == (new.release_id, None)
    assert {outcome.release for outcome in retriever.ask()} == {new.release_id}
    assert [opened.is_closed for opened in retriever.opened[old.release_id]] == [True]
    assert [opened.is_closed for opened in retriever.opened[new.release_id]] == [False]


@pytest.mark.parametrize("bad", ["hidden", "far"])
def test_a_bad_canary_is_rolled_back(retriever, built, old, bad):
    new = built[1][bad]
    retriever.introduce(old, new)
    # Well before the searches that a promotion needs.
    outcomes = retriever.ask(_QUESTIONS[:60])
    assert {outcome.error for outcome in outcomes} == {None}
    settled = retriever.settle()
    assert settled.verdict is Verdict.ROLL_BACK
    found = settled.comparison
    assert found.poor.only_canary == found.searches == sum(outcome.release == new.release_id for outcome in outcomes)
    assert (retriever.registry.current_id(), retriever.canaries.current()) == (old.release_id, None)
    assert {outcome.release for outcome in retriever.ask(_QUESTIONS[:60])} == {old.release_id}
    assert [opened.is_closed for opened in retriever.opened[new.release_id]] == [True]
    assert "found nothing near enough" in retriever.canaries.rejection(new.release_id).reason


def test_how_near_the_hits_of_another_model_are_decides_nothing(retriever, built, old):
    new = built[1]["other model"]
    retriever.introduce(old, new)
    retriever.ask(_QUESTIONS[:60])
    settled = retriever.settle()
    assert settled.verdict is Verdict.WAIT
    found = settled.comparison
    assert found.searches > 20
    assert (found.poor.canary, found.similarity, found.overlap10) == (0, None, 0.0)


def test_a_canary_that_fails_is_given_up_at_once_and_nobody_notices(retriever, old, new):
    retriever.introduce(old, new)
    retriever.opened[new.release_id][0].failures_left = 10_000
    outcomes = retriever.ask()
    assert {(outcome.release, outcome.error) for outcome in outcomes} == {(old.release_id, None)}
    assert all(outcome.hits for outcome in outcomes)
    assert retriever.follower.canary is None
    # No other process has to say so, and no look at the pointer brings it back.
    retriever.follower.refresh()
    assert retriever.follower.canary is None
    assert [opened.is_closed for opened in retriever.opened[new.release_id]] == [True]
    assert retriever.settle().reason == "a retriever gave it up: 5 searches in a row failed"
    assert retriever.registry.current_id() == old.release_id


def test_single_failures_are_noted_and_end_nothing(retriever, old, new):
    retriever.introduce(old, new)
    taken = [question for question in _QUESTIONS if retriever.canaries.current().takes(question)]
    canary = retriever.opened[new.release_id][0]
    for number, question in enumerate(taken[:20]):
        # What the caller would have got counts: asked again, it would have found something.
        canary.failures_left = int(number % 5 != 0)
        assert retriever.ask([question])[0].error is None
    assert retriever.follower.canary is not None
    found = retriever.settle()
    assert (found.comparison.searches, found.comparison.failed.only_canary) == (20, 16)
    assert found.verdict is Verdict.ROLL_BACK


def test_a_bad_filter_is_the_callers_mistake(retriever, old, new):
    retriever.introduce(old, new)
    outcomes = retriever.ask(filter={"nonsense": 1})
    assert {outcome.error for outcome in outcomes} == {"bad_filter"}
    assert retriever.follower.canary is not None
    assert retriever.settle().comparison.searches == 0


def test_a_canary_that_cannot_be_opened_leaves_the_current_release_serving(retriever, old, new, caplog):
    retriever.unreadable.add(new.release_id)
    retriever.introduce(old, new)
    assert new.release_id in retriever.follower.problem
    assert {outcome.release for outcome in retriever.ask()} == {old.release_id}
    assert retriever.canaries.observations(retriever.canaries.current()).given_up == []
    # A disk may be away for a moment: twice more, each after some looks, before it counts.
    for _ in range(32):
        retriever.follower.refresh()
    assert caplog.text.count("can't be served") == 1
    assert retriever.settle().verdict is Verdict.ROLL_BACK
    assert "can't be opened" in retriever.canaries.rejection(new.release_id).reason
    assert retriever.follower.problem == ""


def test_a_canary_that_ended_is_closed_after_its_last_search(retriever, old, new):
    retriever.introduce(old, new)
    with retriever.follower.lease_canary() as (canary, opened):
        assert canary.release_id == new.release_id
        retriever.introduce(old)
        assert retriever.follower.canary is None
        assert not retriever.opened[new.release_id][0].is_closed
        assert answer_on(opened, [SearchItem(question="1")])[0].hits[0].text == "text 1"
    assert retriever.opened[new.release_id][0].is_closed
    assert not retriever.opened[old.release_id][0].is_closed


def test_a_search_under_way_keeps_a_canary_open_across_its_promotion(retriever, old, new):
    retriever.introduce(old, new)
    with retriever.follower.lease_canary():
        retriever.registry.promote(new.release_id, shards=retriever.paths.shards)
        assert retriever.follower.refresh()
        retriever.registry.promote(old.release_id, shards=retriever.paths.shards)
        assert retriever.follower.refresh()
        assert not retriever.opened[new.release_id][0].is_closed
    assert retriever.opened[new.release_id][0].is_closed


def test_beside_another_current_release_no_canary_is_searched(retriever, built, old, new):
    other = built[1]["other"]
    retriever.introduce(old, new)
    retriever.unreadable.add(other.release_id)
    canary = retriever.canaries.current()
    retriever.registry.promote(other.release_id, shards=retriever.paths.shards)
    retriever.canaries.write(canary.model_copy(update={"against": other.release_id}))
    retriever.follower.refresh()
    # The pointer and the canary agree, but what is served is still the release before.
    assert retriever.canaries.current() is not None
    assert retriever.follower.canary is None
    assert {outcome.release for outcome in retriever.ask()} == {old.release_id}


def test_a_damaged_pointer_is_said_once_and_harms_no_search(retriever, old, new, caplog):
    retriever.introduce(old, new)
    (retriever.paths.releases / "canary").write_text("{")
    for _ in range(3):
        retriever.follower.refresh()
    assert caplog.text.count("is damaged, so no canary") == 1
    assert "damaged" in retriever.follower.problem
    assert {outcome.release for outcome in retriever.ask()} == {old.release_id}
