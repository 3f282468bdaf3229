"""A canary that lies in a cluster: two collections beside each other, and the alias between them."""

import pytest

from bentos.retriever.canary_traffic import CanaryTraffic
from bentos.retriever.protocol import SearchItem
from bentos.retriever.searching import answer_batch, answer_on
from bentos.retriever.switching import Opened, ReleaseFollower
from forebay.canary.settling import introduce, promote_by_hand, reject_by_hand, settle
from forebay.canary.trials import CanaryRegistry
from forebay.canary.verdict import Verdict
from forebay.errors import ReleaseError
from forebay.releases import ReleaseRegistry
from forebay.settings import IndexSettings, PathSettings, ReleaseSettings
from forebay.store.opening import open_index
from forebay.store.weaviate_store import connected_store
from tests.releases import chunk_rows, cluster_release
from tests.weaviate_cluster import EMBEDDER, load

_ON = ReleaseSettings(canary_share=0.5, canary_min_searches=100, canary_max_slowdown=20)
_TEXTS = ["wing lift", "heat transfer", "boundary layer", "shock wave"]
_QUESTIONS = [f"{_TEXTS[number % 4]} number{number}" for number in range(260)]


class Retriever:
    """What the service is made of, without the server, over a cluster."""

    def __init__(self, paths, wire):
        self.paths, self._wire = paths, wire
        self.registry, self.canaries = ReleaseRegistry(paths.releases), CanaryRegistry(paths.releases)
        self.follower = ReleaseFollower(
            self.registry, lambda manifest: Opened(open_index(manifest, paths), EMBEDDER), self.canaries
        )
        self.traffic = CanaryTraffic(
            self.follower, self.canaries, lambda opened, item: answer_on(opened, [item])[0], min_relevance=-1.0
        )

    def introduce(self, content, texts=_TEXTS):
        """Load a release whose documents are called after it, and make it the current one or the canary."""
        rows = chunk_rows([(f"{content} {text}", "", text, {}) for text in texts], EMBEDDER)
        manifest = cluster_release(EMBEDDER, len(rows), content, IndexSettings(store="weaviate"))
        with connected_store() as store:
            load(store, rows, content=content, release_id=manifest.release_id)
        self.registry.save(manifest)
        introduce(manifest.release_id, self.paths, _ON)
        self.follower.refresh()
        return manifest

    def ask(self, questions=_QUESTIONS):
        items = [SearchItem(question=question, top_k=2) for question in questions]
        outcomes = []
        for start in range(0, len(items), 10):
            outcomes += answer_batch(self.follower, items[start : start + 10], traffic=self.traffic)
            self.traffic.wait()
        return outcomes

    @property
    def alias(self):
        return self._wire.aliases["ForebayChunks"].removeprefix("ForebayChunks_")

    def settle(self):
        settled = settle(self.paths, _ON)
        self.follower.refresh()
        return settled.verdict


@pytest.fixture
def retriever(wire, tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_WEAVIATE_URL", wire.url)
    monkeypatch.setenv("FOREBAY_WEAVIATE_GRPC_PORT", str(wire.grpc_port))
    made = Retriever(PathSettings(data=tmp_path), wire)
    yield made
    made.traffic.close()
    made.follower.stop()


def test_the_canarys_share_is_answered_from_its_own_collection_while_the_alias_stays(retriever):
    old, new = retriever.introduce("old"), retriever.introduce("new")
    canary = retriever.canaries.current()
    assert (canary.release_id, retriever.alias) == (new.release_id, old.release_id)
    outcomes = retriever.ask(_QUESTIONS[:40])
    taken = [canary.takes(question) for question in _QUESTIONS[:40]]
    assert 0 < sum(taken) < 40
    for is_taken, outcome in zip(taken, outcomes, strict=True):
        assert outcome.release == (new if is_taken else old).release_id
        assert {hit.doc_id.split()[0] for hit in outcome.hits} == {"new" if is_taken else "old"}
    assert retriever.alias == old.release_id


def test_a_canary_that_is_not_worse_gets_the_alias_once_it_is_settled(retriever):
    old, new = retriever.introduce("old"), retriever.introduce("new")
    retriever.ask(_QUESTIONS[:20])
    assert (retriever.settle(), retriever.alias) == (Verdict.WAIT, old.release_id)
    retriever.ask()
    assert retriever.settle() is Verdict.PROMOTE
    assert retriever.alias == retriever.registry.current_id() == new.release_id
    assert {outcome.release for outcome in retriever.ask(_QUESTIONS[:20])} == {new.release_id}


def test_a_canary_that_is_rolled_back_leaves_the_alias(retriever, wire):
    old, new = retriever.introduce("old"), retriever.introduce("new")
    # It finds nothing any more.
    wire.objects[f"ForebayChunks_{new.release_id}"].clear()
    retriever.ask()
    assert retriever.settle() is Verdict.ROLL_BACK
    assert retriever.alias == retriever.registry.current_id() == old.release_id
    assert {outcome.release for outcome in retriever.ask(_QUESTIONS[:20])} == {old.release_id}


def test_by_hand_a_canary_is_rejected_or_gets_the_alias(retriever):
    old, new = retriever.introduce("old"), retriever.introduce("new")
    reject_by_hand(retriever.paths)
    assert retriever.alias == old.release_id
    promote_by_hand(new.release_id, retriever.paths)
    assert retriever.alias == retriever.registry.current_id() == new.release_id


def test_a_collection_that_lacks_chunks_is_no_canary(retriever, wire):
    old = retriever.introduce("old")
    rows = chunk_rows([("d", "", "wing lift", {})], EMBEDDER)
    manifest = cluster_release(EMBEDDER, 2, "half", IndexSettings(store="weaviate"))
    with connected_store() as store:
        load(store, rows, content="half", release_id=manifest.release_id)
    retriever.registry.save(manifest)
    with pytest.raises(ReleaseError, match="1 of 1 partitions of the release"):
        introduce(manifest.release_id, retriever.paths, _ON)
    assert (retriever.canaries.current(), retriever.alias) == (None, old.release_id)


def test_a_cluster_that_is_away_while_it_is_settled_keeps_the_canary(retriever, wire, monkeypatch):
    old, new = retriever.introduce("old"), retriever.introduce("new")
    retriever.ask()
    with monkeypatch.context() as patched:
        patched.setenv("FOREBAY_WEAVIATE_URL", "http://127.0.0.1:1")
        with pytest.raises(ReleaseError, match="doesn't answer"):
            settle(retriever.paths, _ON)
    assert retriever.canaries.current().release_id == new.release_id
    assert retriever.alias == retriever.registry.current_id() == old.release_id
    assert retriever.settle() is Verdict.PROMOTE
    assert retriever.alias == new.release_id
