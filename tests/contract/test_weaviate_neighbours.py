"""The chunks around a hit, as a Weaviate cluster is asked for them: of a document all of them, or none."""

import pytest

from forebay.settings import IndexSettings
from forebay.store import weaviate_neighbours
from forebay.store.access import Caller
from forebay.store.contract import SearchMode
from forebay.store.weaviate_tenants import tenant_name
from tests.releases import chunk_rows, cluster_release
from tests.weaviate_cluster import EMBEDDER, ROWS, batches, request


@pytest.fixture
def tenants(wire, open_store):
    """Loads rows into a release with a shard for each tenant and opens it, as often as it is called.

    What is asked counts from then on.
    """
    opened = []

    def loaded(rows):
        index = IndexSettings(store="weaviate", tenants=True)
        store, manifest = open_store(), cluster_release(EMBEDDER, len(rows), "c", index)
        store.prepare(manifest.release_id, index)
        store.load_partition(manifest.release_id, 0, "c", batches(rows), dim=EMBEDDER.spec.dim, index=index)
        opened.append(store.open(manifest))
        wire.searches.clear()
        return opened[-1]

    yield loaded
    for one in opened:
        one.close()


def test_nothing_is_looked_for_around_no_hits(wire, cluster):
    assert cluster(ROWS[:20]).search([request("nothing", section=True, mode=SearchMode.BM25)]) == [[]]
    assert len(wire.searches) == 1


def _long_documents(*lengths):
    """Rows of documents of so many chunks, each of one word of its own."""
    places = [(doc, number) for doc, length in enumerate(lengths) for number in range(length)]
    rows = chunk_rows([(f"w{doc}x{number}", "", f"w{doc}x{number}", {}) for doc, number in places], EMBEDDER)
    for row, (doc, number) in zip(rows, places, strict=True):
        row |= {"doc_id": f"d{doc}", "start_char": number * 10, "end_char": number * 10 + len(row["text"])}
    return rows


def _expanded(opened, rows, **how):
    """Look for all chunks in one search; gives what is around each, by its text."""
    asked = {"top_k": len(rows), "neighbours": 1, "section": True, "mode": SearchMode.DENSE}
    (hits,) = opened.search([request("words", **asked, **how)])
    return {hit.text: ([*hit.before, *hit.after], [part.text for part in hit.section]) for hit in hits}


def _whole(doc, length):
    """Give what is around each chunk of such a document, one on either side of it and its section."""
    words = [f"w{doc}x{number}" for number in range(length)]
    return {word: ([*words[max(0, n - 1) : n], *words[n + 1 : n + 2]], words) for n, word in enumerate(words)}


def _alone(doc, length):
    return {f"w{doc}x{number}": ([], [f"w{doc}x{number}"]) for number in range(length)}


@pytest.mark.parametrize(("listed", "asked"), [(13, 1), (12, 4), (5, 4)])
def test_documents_that_are_too_long_together_are_asked_for_one_by_one(wire, cluster, monkeypatch, listed, asked):
    monkeypatch.setattr(weaviate_neighbours, "_MAX_CHUNKS", listed)
    rows = _long_documents(4, 4, 4)
    opened = cluster(rows, max_concurrent_searches=2)
    assert _expanded(opened, rows) == _whole(0, 4) | _whole(1, 4) | _whole(2, 4)
    # Before them comes the question for the hits, after them the one for the texts.
    assert len(wire.searches) == 1 + asked + 1


def test_a_hit_of_a_document_that_the_server_may_not_list_whole_is_alone(wire, cluster, monkeypatch):
    monkeypatch.setattr(weaviate_neighbours, "_MAX_CHUNKS", 4)
    rows = _long_documents(6, 3, 4)
    opened = cluster(rows)
    assert _expanded(opened, rows) == _alone(0, 6) | _whole(1, 3) | _alone(2, 4)
    wire.searches.clear()
    # A document that was asked for alone isn't asked for again.
    assert _expanded(opened, rows[:6], where={"doc_id": "d0"}) == _alone(0, 6)
    assert len(wire.searches) == 2


def test_the_text_around_a_hit_comes_from_the_tenants_that_the_caller_may_ask(tenants, wire):
    rows = chunk_rows(
        [(f"p{n}", "", word, {"tenant": "acme"}) for n, word in enumerate(("one", "two", "three"))], EMBEDDER
    )
    for start, row in enumerate(rows):
        row |= {"doc_id": "long", "start_char": start}
    rows += chunk_rows([("other", "", "two", {"tenant": "a/b"})], EMBEDDER)
    (hits,) = tenants(rows).search([request("two", neighbours=1, top_k=1, caller=Caller("acme"))])
    assert [(list(hit.before), hit.text, list(hit.after)) for hit in hits] == [(["one"], "two", ["three"])]
    assert {search.tenant for search in wire.searches} == {tenant_name("acme")}


def test_a_document_of_which_one_tenant_may_hold_more_has_nothing_around_its_hits(tenants, monkeypatch):
    monkeypatch.setattr(weaviate_neighbours, "_MAX_CHUNKS", 3)
    rows = _long_documents(4, 3)
    # Each has a chunk of a tenant's between those of everybody's, of which the first document has one more.
    for row in rows:
        row["metadata"] = '{"tenant": "acme"}' if row["text"].endswith("x1") else "{}"
    assert _expanded(tenants(rows), rows, caller=Caller("acme")) == _alone(0, 4) | _whole(1, 3)
