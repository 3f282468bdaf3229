import logging
import threading
import time

import pytest
from sentence_transformers import CrossEncoder

from bentos.retriever.protocol import SearchItem
from bentos.retriever.reranking import Reranking
from bentos.retriever.searching import answer_batch
from bentos.retriever.switching import Opened, ReleaseFollower
from forebay.releases import ReleaseRegistry
from forebay.settings import IndexSettings, PathSettings, ServingSettings
from forebay.store.qdrant_edge import QdrantEdgeStore
from tests.cross_encoder import write_cross_encoder
from tests.unit.bentos.conftest import SPEC, AxisEmbedder

TEXTS = ["lift 1", "wing lift 1", "shock 1", "heat of a plate 1", "cone 1", "wing flow 1", "drag 1", "gate 1"]
ITEM = SearchItem(question="wing 1", top_k=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_cross_encoder(tmp_path_factory.mktemp("cross-encoder"), broken_char="z")


@pytest.fixture
def follower(tmp_path, release):
    store, registry = (
        QdrantEdgeStore(tmp_path / "shards", SPEC, IndexSettings()),
        ReleaseRegistry(tmp_path / "releases"),
    )
    registry.promote(release(TEXTS).release_id, shards=tmp_path / "shards")
    made = ReleaseFollower(registry, lambda manifest: Opened(store.open(manifest), AxisEmbedder()))
    made.refresh()
    yield made
    made.stop()


@pytest.fixture
def start(folder, tmp_path):
    started = []

    def make(**settings):
        settings = {"reranker": str(folder), "reranker_candidates": 6, "reranker_budget_ms": 60_000, **settings}
        started.append(Reranking(ServingSettings(**settings), PathSettings(data=tmp_path)))
        return started[-1]

    yield make
    for reranking in started:
        reranking.close()


def _texts(outcomes):
    return [[hit.text for hit in outcome.hits] for outcome in outcomes]


def test_hits_come_in_the_order_of_the_model_from_all_that_it_reads(follower, start, folder):
    items = [ITEM, ITEM.model_copy(update={"question": "drag 1", "top_k": 8})]
    before = answer_batch(follower, [item.model_copy(update={"top_k": 8}) for item in items])
    model = CrossEncoder(str(folder), local_files_only=True)
    expected = []
    for item, texts in zip(items, _texts(before), strict=True):
        scores = dict(zip(texts[:6], model.predict([[item.question, text] for text in texts[:6]]), strict=True))
        expected.append([*sorted(texts[:6], key=lambda text: -scores[text]), *texts[6:]][: item.top_k])
    after = answer_batch(follower, items, reranking=start())
    assert _texts(after) == expected
    assert _texts(after) != [texts[: item.top_k] for item, texts in zip(items, _texts(before), strict=True)]
    # One of the first three wasn't among them before.
    assert not set(expected[0]) <= set(_texts(before)[0][:3])
    assert [outcome.rerank for outcome in after] == ["done", "done"]
    assert [hit.rerank_score is None for hit in after[1].hits] == [False] * 6 + [True] * 2


@pytest.mark.parametrize("change", [{"rerank": False}, {"mode": "dense"}, {"mode": "bm25"}, {"diversity": 0.5}])
def test_a_search_that_is_not_for_reranking_stays_as_it_is(follower, start, change):
    item = SearchItem(**{**ITEM.model_dump(), **change})
    (found,) = answer_batch(follower, [item], reranking=start())
    assert found == answer_batch(follower, [item])[0]
    assert found.rerank == "off"


def test_out_of_time_every_search_has_the_hits_that_it_had(follower, start):
    found = answer_batch(follower, [ITEM] * 3, reranking=start(reranker_budget_ms=0.001))
    assert _texts(found) == _texts(answer_batch(follower, [ITEM] * 3))
    assert {outcome.rerank for outcome in found} == {"over_budget"}


def test_an_item_that_fails_has_its_error_and_the_others_are_reranked(follower, start):
    bad = ITEM.model_copy(update={"filter": {"nonsense": 1}})
    found = answer_batch(follower, [bad, ITEM], reranking=start())
    assert [(outcome.error, outcome.rerank) for outcome in found] == [("bad_filter", "off"), (None, "done")]


def test_a_broken_score_costs_the_order_only(follower, start, caplog):
    reranking, broken = start(), ITEM.model_copy(update={"question": "wizzard 1"})
    found = answer_batch(follower, [broken, ITEM], reranking=reranking)
    assert [outcome.rerank for outcome in found] == ["failed", "done"]
    assert _texts(found)[0] == _texts(answer_batch(follower, [broken]))[0]
    assert "a score is not a number" in caplog.text


@pytest.mark.parametrize("model", ["/nowhere/at/all", "package:unheard-of"])
def test_without_its_model_searches_are_answered_and_the_log_says_what_to_do(follower, start, caplog, model):
    with caplog.at_level(logging.ERROR):
        reranking = start(reranker=model)
    (found,) = answer_batch(follower, [ITEM], reranking=reranking)
    assert found.rerank == "unavailable"
    assert _texts([found]) == _texts(answer_batch(follower, [ITEM]))
    assert "the reranker can't be loaded" in reranking.problem.lower()
    assert model.rpartition(":")[2] in caplog.text


def test_no_reranker_is_nothing_to_complain_of(follower, start):
    reranking = start(reranker="")
    assert (reranking.problem, answer_batch(follower, [ITEM], reranking=reranking)[0].rerank) == ("", "off")


def test_waiting_for_others_is_part_of_the_budget(follower, start):
    """The thread is busy for longer than the budget: nobody waits for it."""
    reranking, release = start(reranker_budget_ms=50), threading.Event()
    reranking._thread.submit(release.wait, 20)
    began = time.monotonic()
    (found,) = answer_batch(follower, [ITEM], reranking=reranking)
    waited_s = time.monotonic() - began
    release.set()
    assert found.rerank == "over_budget"
    assert waited_s < 10
