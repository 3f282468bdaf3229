"""Documents of tenants in shards of their own: what is sent, who finds what, and what a killed load leaves behind."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weaviate.exceptions import WeaviateQueryError
from weaviate.proto.v1 import base_pb2

from forebay.errors import IndexBuildError, ReleaseError
from forebay.settings import IndexSettings
from forebay.store.access import EVERYTHING, PUBLIC, Caller
from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.weaviate_backup import back_up, restore
from forebay.store.weaviate_connection import connect
from forebay.store.weaviate_store import WeaviateStore
from forebay.store.weaviate_tenants import SHARED, tenant_name
from forebay.testing import HashEmbedder
from tests.releases import chunk_rows, cluster_release
from tests.weaviate_cluster import Killed, batches, served_wire
from tests.weaviate_wire import Fault

_INDEX = IndexSettings(store="weaviate", tenants=True)
_EMBEDDER = HashEmbedder()
# The second and the third would have one name if only what Weaviate allows were kept of them.
_TENANTS = ["acme", "a/b", "a b", "Ünïcode", "x" * 200]
_AUDIENCES = [{}, *({"tenant": name} for name in _TENANTS), {"groups": ["hr"]}, {"tenant": "acme", "groups": ["hr"]}]
_ROWS = chunk_rows(
    [(f"d{n}", "", f"wing lift study number{n}", {"n": n, **_AUDIENCES[n % len(_AUDIENCES)]}) for n in range(160)],
    _EMBEDDER,
)
# Eight chunks of different audiences to a document, up to four of which a caller may find.
for _n, _row in enumerate(_ROWS):
    _row |= {"doc_id": f"d{_n // 8}", "start_char": _n * 100, "end_char": _n * 100 + len(_row["text"])}
_RELEASE = cluster_release(_EMBEDDER, len(_ROWS), "c", _INDEX)


@contextmanager
def _store(wire):
    chosen = wire.settings()
    with connect(chosen) as client:
        yield WeaviateStore(client, chosen)


@pytest.fixture
def store(wire):
    with _store(wire) as opened:
        yield opened


def _load(store, rows=_ROWS, number=0, content="c", release_id=_RELEASE.release_id, **how):
    store.prepare(release_id, _INDEX)
    parts = batches(rows, size=80, **how)
    return store.load_partition(release_id, number, content, parts, dim=_EMBEDDER.spec.dim, index=_INDEX)


def _state(wire, release_id=_RELEASE.release_id):
    """Give the ids that each tenant holds."""
    places = wire.of_collection(f"ForebayChunks_{release_id}")
    return {place.partition("/")[2]: set(held) for place, held in places.items() if held}


def _expected(rows):
    expected = {}
    for row in rows:
        tenant = json.loads(row["metadata"]).get("tenant")
        expected.setdefault(SHARED if tenant is None else tenant_name(tenant), set()).add(row["chunk_id"])
    return expected


@pytest.fixture(scope="module")
def served():
    """A release that is loaded and open, with its server; tests only search it."""
    with served_wire() as wire, _store(wire) as store:
        assert _load(store) == len(_ROWS)
        release = store.open(_RELEASE)
        yield wire, release
        release.close()


@pytest.fixture
def asked(served):
    """The released index and what is asked of its server in this test."""
    wire, release = served
    wire.searches.clear()
    return release, wire.searches


def _request(text="wing lift study number17", **how):
    (vector,) = _EMBEDDER.embed_queries([text])
    return SearchRequest(text, vector, **how)


def _may_find(caller, row):
    """Decide without any of our filters."""
    metadata = json.loads(row["metadata"])
    is_of_tenant = metadata.get("tenant") in (None, caller.tenant)
    is_of_groups = "groups" not in metadata or bool(caller.groups & set(metadata["groups"]))
    return caller.sees_everything or (is_of_tenant and is_of_groups)


def test_a_collection_of_tenants_is_created_and_nothing_makes_tenants_by_itself(wire, store):
    store.prepare(_RELEASE.release_id, _INDEX)
    (created,) = [body for method, path, body, _ in wire.rest if (method, path) == ("POST", "schema")]
    wanted = {"enabled": True, "autoTenantCreation": False, "autoTenantActivation": True}
    assert created["multiTenancyConfig"] == wanted
    assert created["shardingConfig"]["desiredCount"] == 0
    store.prepare("0" * 16, IndexSettings(store="weaviate"))
    assert not wire.has_tenants(f"ForebayChunks_{'0' * 16}")


def test_the_double_refuses_what_a_server_refuses(served):
    wire, _ = served
    with connect(wire.settings()) as client:
        whole = client.collections.use(f"ForebayChunks_{_RELEASE.release_id}")
        with pytest.raises(WeaviateQueryError, match="has multi-tenancy enabled, but request was without tenant"):
            whole.query.bm25("wing")
        with pytest.raises(WeaviateQueryError, match='tenant not found: "none"'):
            whole.with_tenant("none").aggregate.over_all(total_count=True)


def test_every_chunk_lies_in_its_tenant_and_nowhere_else(served):
    wire, _ = served
    assert _state(wire) == _expected(_ROWS)
    assert len(_state(wire)) == 1 + len(_TENANTS)
    assert set(wire.streams) == {base_pb2.CONSISTENCY_LEVEL_QUORUM}


@pytest.mark.parametrize("mode", SearchMode)
@pytest.mark.parametrize(
    ("caller", "tenants"),
    [
        (PUBLIC, [SHARED]),
        (Caller("acme"), [SHARED, tenant_name("acme")]),
        (Caller("a b", frozenset({"hr"})), [SHARED, tenant_name("a b")]),
        (Caller("none"), [SHARED]),
        (EVERYTHING, [SHARED, *map(tenant_name, _TENANTS)]),
    ],
)
def test_a_caller_asks_the_shared_tenant_and_its_own_only(asked, caller, tenants, mode):
    release, searches = asked
    (hits,) = release.search([_request(caller=caller, mode=mode, top_k=200)])
    assert {hit.chunk_id for hit in hits} == {row["chunk_id"] for row in _ROWS if _may_find(caller, row)}
    legs = 2 if mode == SearchMode.HYBRID else 1
    assert sorted(search.tenant for search in searches) == sorted(tenants * legs)
    # A shard of one's own doesn't replace the filter.
    is_filtered = not caller.sees_everything
    assert all(('["tenant"]' in str(search.filters).replace("\\", "")) == is_filtered for search in searches)


@given(
    tenant=st.sampled_from([None, "none", SHARED, tenant_name("acme"), *_TENANTS]),
    groups=st.frozensets(st.sampled_from(["hr", "board"])),
    mode=st.sampled_from(SearchMode),
    number=st.integers(0, 159),
    top_k=st.integers(1, 60),
    options=st.fixed_dictionaries(
        {
            "feedback": st.booleans(),
            "diversity": st.sampled_from([0.0, 0.5, 1.0]),
            "neighbours": st.integers(0, 3),
            "section": st.booleans(),
            "fusion": st.sampled_from(["rrf", "relative_score"]),
        }
    ),
)
@settings(max_examples=60, deadline=None)
def test_no_caller_is_ever_given_what_is_another_tenants(served, tenant, groups, mode, number, top_k, options):
    _, release = served
    caller = Caller(tenant, groups)
    request = _request(f"study number{number}", caller=caller, mode=mode, top_k=top_k, **options)
    (hits,) = release.search([request])
    allowed = [row for row in _ROWS if _may_find(caller, row)]
    assert {hit.chunk_id for hit in hits} <= {row["chunk_id"] for row in allowed}
    assert len(hits) == min(top_k, len(allowed))
    for hit in hits:
        texts = [row["text"] for row in allowed if row["doc_id"] == hit.doc_id]
        at, count = texts.index(hit.text), options["neighbours"]
        around = texts[max(0, at - count) : at], texts[at + 1 : at + 1 + count]
        assert (list(hit.before), list(hit.after)) == around
        assert [part.text for part in hit.section] == (texts if options["section"] else [])
    if mode == SearchMode.DENSE and not options["diversity"]:
        exact = np.sort([np.asarray(row["vector"]) @ request.vector for row in allowed])[::-1][:top_k]
        assert [hit.similarity for hit in hits] == pytest.approx(exact.tolist(), abs=1e-5)


def test_a_chunk_in_the_wrong_shard_is_still_behind_the_filter(wire, store):
    _load(store, _ROWS[:8])
    place = f"ForebayChunks_{_RELEASE.release_id}"
    wire.objects[f"{place}/{SHARED}"] |= wire.objects.pop(f"{place}/{tenant_name('acme')}")
    wire.tenants[place].discard(tenant_name("acme"))
    release = store.open(cluster_release(_EMBEDDER, 8, "c", _INDEX).model_copy(update={"shards": _shards(8)}))
    try:
        found = [
            {hit.metadata["n"] for hit in release.search([_request(caller=c)])[0]} for c in (PUBLIC, Caller("acme"))
        ]
    finally:
        release.close()
    assert found == [{0}, {0, 1}]


def _shards(chunks):
    return (_RELEASE.shards[0].model_copy(update={"chunks": chunks}),)


def test_words_of_two_tenants_are_merged_by_rank_because_their_scores_mean_nothing_together(wire, store):
    # The double scores by how often a word comes: the shared tenant's scores are all higher.
    documents = [(f"s{n}", "", "lift " * (9 - n) + "wing " * 4 * n, {}) for n in range(3)]
    documents += [(f"o{n}", "", "lift " * (3 - n) + f"panel{n}", {"tenant": "acme"}) for n in range(2)]
    rows = chunk_rows(documents, _EMBEDDER)
    manifest = _RELEASE.model_copy(update={"shards": _shards(len(rows))})
    _load(store, rows)
    release = store.open(manifest)
    try:
        (hits,) = release.search([_request("lift", caller=Caller("acme"), mode=SearchMode.BM25)])
        (both,) = release.search([_request("lift", caller=Caller("acme"), feedback=False)])
        told = release.explain(_request("lift", caller=Caller("acme"), feedback=False))
    finally:
        release.close()
    ranks = {"s0": 1, "o0": 1, "s1": 2, "o1": 2, "s2": 3}
    assert {hit.doc_id: hit.score for hit in hits} == pytest.approx({key: 1 / (60 + n) for key, n in ranks.items()})
    assert [ranks[hit.doc_id] for hit in hits] == [1, 1, 2, 2, 3]
    similarity = {row["doc_id"]: float(np.asarray(row["vector"]) @ _request("lift").vector) for row in rows}
    assert {hit.doc_id: hit.similarity for hit in both} == pytest.approx(similarity, abs=1e-5)
    # Where vectors were asked for, they decide between equal ranks; ids would decide otherwise.
    chunk_ids = {row["doc_id"]: row["chunk_id"] for row in rows}
    by_words = sorted(ranks, key=lambda key: (ranks[key], -similarity[key]))
    assert by_words != sorted(ranks, key=lambda key: (ranks[key], chunk_ids[key]))
    assert [candidate.doc_id for candidate in told.rounds[0].legs["bm25"]] == by_words
    assert told.hits == both
    dense = sorted(ranks, key=lambda key: -similarity[key])
    expected = {key: sum(1 / (61 + leg.index(key)) for leg in (dense, by_words)) for key in ranks}
    assert {hit.doc_id: hit.score for hit in both} == pytest.approx(expected)


def test_where_every_document_has_a_tenant_others_find_nothing_and_ask_nothing(wire, store):
    rows = [row for row in _ROWS if "tenant" in json.loads(row["metadata"])][:10]
    _load(store, rows)
    release = store.open(_RELEASE.model_copy(update={"shards": _shards(10)}))
    wire.searches.clear()
    try:
        assert release.search([_request(), _request(caller=Caller("none"))]) == [[], []]
        assert wire.searches == []
        assert release.count() == 10
    finally:
        release.close()


def test_counts_are_of_all_tenants(served):
    wire, release = served
    wire.counts.clear()
    assert release.count() == len(_ROWS)
    assert len(wire.counts) == 1 + len(_TENANTS)
    assert release.count({"metadata.n": [1, 2, 8]}) == 3
    assert release.count({"metadata.tenant": "a b"}) == 20
    assert release.count({"metadata.n": {"gte": 10, "lt": 30}}) == 20


@pytest.mark.parametrize("killed_at", [0, 80])
def test_a_load_that_is_killed_and_repeated_ends_in_the_same_state(wire, store, killed_at):
    with pytest.raises(Killed):
        _load(store, killed_at=killed_at)
    assert not store.holds_partition(_RELEASE.release_id, 0, "c", len(_ROWS))
    with _store(wire) as again:
        assert _load(again) == len(_ROWS)
    assert _state(wire) == _expected(_ROWS)
    assert store.holds_partition(_RELEASE.release_id, 0, "c", len(_ROWS))


def test_a_stream_that_breaks_leaves_no_tenant_without_its_chunks(wire, store):
    wire.faults["stream"] = [Fault("close", 33)]
    assert _load(store) == len(_ROWS)
    assert _state(wire) == _expected(_ROWS)


def test_what_a_partition_held_before_is_deleted_in_every_tenant_and_other_partitions_stay(wire, store):
    other, rows = _ROWS[:16], _ROWS[16:56]
    _load(store, other, number=1)
    _load(store, rows, content="old")
    # All of them move: to another tenant, or to everybody.
    moved = [{**row, "metadata": json.dumps({"tenant": "globex"} if n % 2 else {})} for n, row in enumerate(rows)]
    wire.delete_limit = 3
    assert _load(store, moved, content="new") == len(moved)
    expected = _expected(moved)
    for tenant, ids in _expected(other).items():
        expected.setdefault(tenant, set()).update(ids)
    assert _state(wire) == expected
    assert store.holds_partition(_RELEASE.release_id, 0, "new", len(moved))
    assert {one.tenant for one in wire.deletes} == {SHARED, *map(tenant_name, [*_TENANTS, "globex"])}


def test_a_failing_tenant_is_named(wire, store):
    wire.faults["tenants"] = [Fault("refused")]
    with pytest.raises(IndexBuildError, match=r"create the tenants of partition 0.*refused"):
        _load(store, _ROWS[:8])
    assert _load(store, _ROWS[:8]) == 8


def test_a_backup_brings_all_tenants_back_and_the_alias_moves(wire, store):
    _load(store)
    store.promote(_RELEASE)
    back_up(_RELEASE.model_copy(update={"index": _INDEX}), "full", wire.settings())
    before, tenants = _state(wire), dict(wire.tenants)
    wire.drop(f"ForebayChunks_{_RELEASE.release_id}")
    restore(_RELEASE, "full", wire.settings())
    assert (_state(wire), wire.tenants) == (before, tenants)
    assert store.current_id() == _RELEASE.release_id


def test_a_collection_that_is_not_as_its_release_says_is_named(wire, store):
    _load(store, _ROWS[:8])
    name = f"ForebayChunks_{_RELEASE.release_id}"
    wire.classes[name]["multiTenancyConfig"] = {"enabled": False}
    wire.objects[name] = {key: item for held in wire.of_collection(name).values() for key, item in held.items()}
    with _store(wire) as again:
        for action in (
            lambda: again.prepare(_RELEASE.release_id, _INDEX),
            lambda: again.open(_RELEASE.model_copy(update={"shards": _shards(8)})),
        ):
            with pytest.raises(ReleaseError, match=r"lacks tenants.*FOREBAY_INDEX_TENANTS=true"):
                action()
        with pytest.raises(ReleaseError, match=r"no collection 'ForebayChunks_none'.*load the release"):
            again.count("none")
