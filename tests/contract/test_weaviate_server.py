"""The Weaviate store against a real server; `make test-weaviate WEAVIATE_URL=...` runs it."""

import os
import uuid

import numpy as np
import pyarrow as pa
import pytest

from forebay.errors import ReleaseError
from forebay.settings import IndexSettings, WeaviateSettings
from forebay.store.access import EVERYTHING, PUBLIC, Caller
from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.weaviate_backup import back_up, restore
from forebay.store.weaviate_connection import connect
from forebay.store.weaviate_store import WeaviateStore
from forebay.store.weaviate_tenants import SHARED, tenant_name
from forebay.testing import HashEmbedder
from tests.releases import chunk_rows, cluster_release

pytestmark = pytest.mark.skipif(
    "WEAVIATE_URL" not in os.environ,
    reason="needs a Weaviate server: make test-weaviate WEAVIATE_URL=http://127.0.0.1:8080 (docs/weaviate.md)",
)

_EMBEDDER = HashEmbedder()
_INDEX = IndexSettings(store="weaviate")
_WORDS = ["wing lift", "heat transfer", "boundary layer", "shock wave", "panel flutter"]
_ROWS = chunk_rows(
    [
        (
            f"d{n}",
            f"Title {n}",
            f"{_WORDS[n % 5]} study number{n}",
            {"n": n, **({"tenant": "acme"} if n % 4 == 0 else {})},
        )
        for n in range(200)
    ],
    _EMBEDDER,
)


def _new_manifest(index=_INDEX):
    return cluster_release(_EMBEDDER, len(_ROWS), uuid.uuid4().hex, index)


def _load(store, release_id, rows, content="c", index=_INDEX):
    store.prepare(release_id, index)
    return store.load_partition(release_id, 0, content, [pa.RecordBatch.from_pylist(rows)], dim=_EMBEDDER.spec.dim)


@pytest.fixture(scope="module")
def settings():
    # An alias of its own: a cluster that serves keeps its collections.
    alias = f"ForebayTest{uuid.uuid4().hex[:8]}"
    return WeaviateSettings(url=os.environ["WEAVIATE_URL"], alias=alias, shards=2)


@pytest.fixture(scope="module")
def client(settings):
    with connect(settings) as connected:
        yield connected
        connected.alias.delete(alias_name=settings.alias)
        for name in connected.collections.list_all():
            if name.startswith(settings.alias):
                connected.collections.delete(name)


@pytest.fixture(scope="module")
def store(client, settings):
    return WeaviateStore(client, settings)


@pytest.fixture(scope="module")
def release(store):
    manifest = _new_manifest()
    _load(store, manifest.release_id, _ROWS)
    opened = store.open(manifest)
    yield opened
    opened.close()


def _search(release, text, **how):
    (vector,) = _EMBEDDER.embed_queries([text])
    return release.search([SearchRequest(text, vector, **{"caller": EVERYTHING, **how})])[0]


@pytest.mark.parametrize("mode", SearchMode)
def test_every_leg_finds_the_passage(release, mode):
    assert _search(release, "study number17", mode=mode)[0].doc_id == "d17"


def test_the_dense_leg_agrees_with_exact_search(release):
    (question,) = _EMBEDDER.embed_queries(["shock wave study"])
    exact = np.asarray([row["vector"] for row in _ROWS]) @ question
    hits = _search(release, "shock wave study", mode=SearchMode.DENSE, top_k=10)
    assert min(hit.similarity for hit in hits) >= np.sort(exact)[-10] - 0.02


def test_counts_and_filters(release):
    assert release.count() == 200
    assert release.count({"metadata.n": [1, 2, 3]}) == 3
    assert release.count({"not": {"metadata.tenant": {"exists": True}}}) == 150
    assert {hit.doc_id for hit in _search(release, "study", where={"metadata.n": [1, 2]})} == {"d1", "d2"}


@pytest.mark.parametrize("mode", SearchMode)
def test_ranges(release, mode):
    assert release.count({"metadata.n": {"gt": 0.1, "lte": 1e300}}) == 199
    assert release.count({"not": {"metadata.n": {"gte": 100}}}) == 100
    assert release.count({"metadata.none": {"gt": -1e300}}) == 0
    hits = _search(release, "study", where={"metadata.n": {"gte": 10, "lt": 15}}, mode=mode)
    assert {hit.doc_id for hit in hits} == {f"d{n}" for n in range(10, 15)}


def test_the_wording_diversity_and_the_text_around_a_hit(store):
    rows = chunk_rows(
        [(f"p{n}", "", text, {}) for n, text in enumerate(("the wing", "shock wave", "wave shock", "the plate"))],
        _EMBEDDER,
    )
    for start, row in enumerate(rows):
        row |= {"doc_id": "long", "start_char": start}
    manifest = cluster_release(_EMBEDDER, len(rows), uuid.uuid4().hex, _INDEX)
    _load(store, manifest.release_id, rows)
    opened = store.open(manifest)
    try:
        (hit,) = _search(opened, '"shock wave"', neighbours=2)
        assert (list(hit.before), hit.text, list(hit.after)) == (
            ["the wing"],
            "shock wave",
            ["wave shock", "the plate"],
        )
        assert len({hit.text for hit in _search(opened, "shock wave", diversity=0.9, top_k=4)}) == 4
    finally:
        opened.close()


@pytest.mark.parametrize("caller", [PUBLIC, Caller("acme"), Caller("other")])
def test_nobody_finds_what_is_another_tenants(release, caller):
    found = {hit.metadata.get("tenant") for hit in _search(release, "study", top_k=200, caller=caller)}
    assert found == ({None, "acme"} if caller.tenant == "acme" else {None})


def test_tenants_lie_apart_and_a_backup_brings_them_back(store, client, settings):
    index = IndexSettings(store="weaviate", tenants=True)
    manifest = _new_manifest(index)
    (content,) = [ref.content for ref in manifest.shards]
    for _ in range(2):
        assert _load(store, manifest.release_id, _ROWS, content, index) == 200
    assert store.holds_partition(manifest.release_id, 0, content, 200)
    collection = client.collections.use(f"{settings.alias}_{manifest.release_id}")
    assert set(collection.tenants.get()) == {SHARED, tenant_name("acme")}
    back_up(manifest, manifest.release_id, settings)
    client.collections.delete(collection.name)
    restore(manifest, manifest.release_id, settings)
    opened = store.open(manifest)
    try:
        for caller, expected in ((PUBLIC, {None}), (Caller("acme"), {None, "acme"}), (Caller("other"), {None})):
            for mode in SearchMode:
                hits = _search(opened, "study", top_k=200, caller=caller, mode=mode)
                assert {hit.metadata.get("tenant") for hit in hits} == expected
        assert opened.count({"metadata.tenant": "acme"}) == 50
    finally:
        opened.close()
    moved = [{**row, "metadata": '{"tenant": "globex"}'} for row in _ROWS]
    assert _load(store, manifest.release_id, moved, "new", index) == 200
    assert store.count(manifest.release_id) == 200


def test_a_load_repeated_and_changed_holds_the_new_rows_only(store):
    release_id = _new_manifest().release_id
    assert _load(store, release_id, _ROWS) == 200
    assert _load(store, release_id, _ROWS) == 200
    assert store.holds_partition(release_id, 0, "c", 200)
    assert _load(store, release_id, _ROWS[:50], "new") == 50
    assert store.count(release_id) == 50


def test_the_alias_moves_to_whole_releases_and_moves_back(store):
    first, second = (cluster_release(_EMBEDDER, 10, uuid.uuid4().hex, _INDEX) for _ in range(2))
    for manifest in (first, second):
        _load(store, manifest.release_id, _ROWS[:10], manifest.shards[0].content)
    store.promote(first)
    assert store.promote(second) == first.release_id
    assert store.promote(first) == second.release_id
    assert store.current_id() == first.release_id
    _load(store, second.release_id, _ROWS[:9], "newer")
    with pytest.raises(ReleaseError, match="s000 0 of 10"):
        store.promote(second)


def test_a_backup_brings_a_lost_collection_back(store, client, settings):
    manifest = _new_manifest()
    _load(store, manifest.release_id, _ROWS, manifest.shards[0].content)
    back_up(manifest, manifest.release_id, settings)
    client.collections.delete(f"{settings.alias}_{manifest.release_id}")
    restore(manifest, manifest.release_id, settings)
    assert store.count(manifest.release_id) == 200
