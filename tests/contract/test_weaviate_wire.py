"""What the Weaviate store sends, and what it makes of answers that go wrong; against a double of the protocol."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from weaviate.proto.v1 import base_pb2

from forebay.documents import content_hash
from forebay.errors import ConfigurationError, FilterError, IndexBuildError, ReleaseError
from forebay.settings import IndexSettings
from forebay.store.access import EVERYTHING, PUBLIC, Caller
from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.filters import CHUNK_FIELDS
from forebay.store.weaviate_channels import Channels
from forebay.store.weaviate_connection import connect
from forebay.store.weaviate_store import WeaviateStore
from forebay.testing import HashEmbedder
from tests.releases import chunk_rows, cluster_release
from tests.weaviate_wire import Fault, Wire, packed, serve

_ID = "0123456789abcdef"
_EMBEDDER = HashEmbedder()
_DOCUMENTS = [
    (
        f"d{n}",
        f"title {n}",
        f"wing lift study number{n}",
        {"year": 1950 + n, **({"tenant": "acme"} if n % 3 == 0 else {})},
    )
    for n in range(350)
]
_ROWS = chunk_rows(_DOCUMENTS, _EMBEDDER)


class _Killed(BaseException):
    """The end of a process, as far as the code in it can tell."""


@pytest.fixture
def wire():
    held = Wire()
    serve(held)
    yield held
    held.stop()


@pytest.fixture
def open_store(wire):
    clients = []

    def opened(**settings):
        chosen = wire.settings(**settings)
        clients.append(connect(chosen))
        return WeaviateStore(clients[-1], chosen)

    yield opened
    for client in clients:
        client.close()


def _batches(rows, size=100, killed_at=None):
    for start in range(0, len(rows), size):
        if killed_at is not None and start >= killed_at:
            raise _Killed
        yield pa.RecordBatch.from_pylist(rows[start : start + size])


def _state(wire, release_id=_ID):
    return dict(wire.objects[f"ForebayChunks_{release_id}"])


def _load(store, rows=_ROWS, number=0, content="c", release_id=_ID, **how):
    store.prepare(release_id, IndexSettings())
    return store.load_partition(release_id, number, content, _batches(rows, **how), dim=_EMBEDDER.spec.dim)


def test_a_collection_is_created_with_what_can_not_be_changed_later(wire, open_store):
    store = open_store(shards=24, replication_factor=3)
    store.prepare(_ID, IndexSettings())
    store.prepare(_ID, IndexSettings())
    (created,) = [body for method, path, body, _ in wire.rest if (method, path) == ("POST", "schema")]
    assert created["class"] == f"ForebayChunks_{_ID}"
    assert created["shardingConfig"]["desiredCount"] == 24
    assert created["replicationConfig"]["factor"] == 3
    index = created["vectorConfig"]["default"]["vectorIndexConfig"]
    assert (index["distance"], index["rq"]["bits"], index["maxConnections"]) == ("cosine", 8, 16)
    properties = {item["name"]: item for item in created["properties"]}
    for name in (*CHUNK_FIELDS, "metadata_terms", "load"):
        assert (properties[name]["tokenization"], properties[name]["indexFilterable"]) == ("field", True), name
    for name in ("title_words", "heading_path", "text"):
        assert (properties[name]["tokenization"], properties[name]["indexSearchable"]) == ("word", True), name
    assert not any(properties[name]["indexFilterable"] for name in ("metadata", "locations", "text_hash", "page"))


def test_settings_that_weaviate_can_not_do_are_an_error(open_store):
    with pytest.raises(ConfigurationError, match="'product'"):
        open_store().prepare(_ID, IndexSettings(quantization="product"))


def test_a_cluster_that_went_away_is_named(wire, open_store):
    store = open_store()
    wire.stop()
    with pytest.raises(ReleaseError, match="looking for a collection"):
        store.prepare(_ID, IndexSettings())
    with pytest.raises(ReleaseError, match="reading the alias"):
        store.current_id()


def test_every_chunk_goes_over_the_wire_once_with_its_own_id_and_vector(wire, open_store):
    assert _load(open_store(api_key="secret")) == len(_ROWS)
    assert sorted(wire.received) == sorted(row["chunk_id"] for row in _ROWS)
    held = _state(wire)
    for row in _ROWS:
        properties, vector = held[row["chunk_id"]]
        assert vector == packed(row["vector"])
        assert (properties["partition"], properties["load"]) == (0, "c")
        assert properties["text"] == row["text"]
        assert json.loads(properties["metadata"]) == json.loads(row["metadata"])
    assert '["year", 1950]' in held[_ROWS[0]["chunk_id"]][0]["metadata_terms"]
    assert set(wire.streams) == {base_pb2.CONSISTENCY_LEVEL_QUORUM}
    assert {one["authorization"] for one in wire.metadata} == {"Bearer secret"}


@pytest.fixture(scope="module")
def undisturbed():
    """What a collection holds after a load that nothing disturbs."""
    wire = Wire()
    serve(wire)
    settings = wire.settings()
    client = connect(settings)
    _load(WeaviateStore(client, settings))
    client.close()
    wire.stop()
    return _state(wire)


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        *(("close", after) for after in (0, 150, 349)),
        *((kind, 150) for kind in ("unavailable", "deadline", "shutting_down", "out_of_memory", "lost")),
    ],
)
def test_a_stream_that_breaks_anywhere_ends_in_the_same_state(wire, open_store, undisturbed, kind, after):
    wire.faults["stream"] = [Fault(kind, after), Fault(kind, after // 2)]
    assert _load(open_store()) == len(_ROWS)
    assert _state(wire) == undisturbed
    assert set(undisturbed) == {row["chunk_id"] for row in _ROWS}


@pytest.mark.parametrize("killed_at", [0, 100, 300])
def test_a_load_that_is_killed_and_repeated_ends_in_the_same_state(open_store, wire, undisturbed, killed_at):
    store = open_store()
    for _ in range(2):
        with pytest.raises(_Killed):
            _load(store, killed_at=killed_at)
        assert not store.holds_partition(_ID, 0, "c", len(_ROWS))
    _load(open_store())
    assert _state(wire) == undisturbed
    assert store.holds_partition(_ID, 0, "c", len(_ROWS))


def test_what_the_partition_held_before_is_deleted_and_other_partitions_stay(wire, open_store):
    store = open_store()
    _load(store, _ROWS[:50], number=1, content="other")
    _load(store, _ROWS[50:], content="old")
    wire.delete_limit = 40
    assert _load(store, _ROWS[50:100], content="new") == 50
    assert set(_state(wire)) == {row["chunk_id"] for row in _ROWS[:100]}
    # 250 stale ones by 40 at a time, and the look that finds none.
    assert len(wire.deletes) == 2 + 7 + 1
    assert {one.consistency_level for one in wire.deletes} == {base_pb2.CONSISTENCY_LEVEL_QUORUM}
    assert store.load_partition(_ID, 0, "gone", [], dim=64) == 0
    assert set(_state(wire)) == {row["chunk_id"] for row in _ROWS[:50]}


def test_a_failing_deletion_is_named_and_done_by_the_next_load(wire, open_store):
    store = open_store()
    _load(store, _ROWS[:20], content="old")
    wire.faults["delete"] = [Fault("internal")]
    with pytest.raises(IndexBuildError, match="partition 0 can't be finished"):
        _load(store, _ROWS[:10], content="new")
    assert not store.holds_partition(_ID, 0, "new", 10)
    assert _load(store, _ROWS[:10], content="new") == 10


def test_a_chunk_that_the_server_refuses_is_named_with_the_servers_reason(wire, open_store):
    refused = _ROWS[7]["chunk_id"]
    wire.refused = {refused: "the disk is read-only"}
    with pytest.raises(
        IndexBuildError, match=rf"1 chunks of partition 0 in 2 attempts, '{refused}'.*disk is read-only"
    ):
        _load(open_store(load_attempts=2))
    wire.refused = {}
    assert _load(open_store()) == len(_ROWS)


def test_rows_that_can_not_be_indexed_are_refused_before_they_are_sent(wire, open_store):
    store = open_store()
    with pytest.raises(IndexBuildError, match="two chunks of one id"):
        _load(store, [_ROWS[0], _ROWS[0]])
    with pytest.raises(IndexBuildError, match="dimension 64"):
        _load(store, [{**_ROWS[0], "vector": [1.0]}])
    with pytest.raises(IndexBuildError, match="unit vector"):
        _load(store, [{**_ROWS[0], "vector": [1.0] * 64}])
    assert not wire.received


def test_the_alias_moves_to_complete_releases_only_and_back(wire, open_store):
    store = open_store()
    other = content_hash("other")[:16]
    _load(store, _ROWS[:30])
    _load(store, _ROWS[:40], release_id=other)
    assert store.current_id() is None
    with pytest.raises(ReleaseError, match="holds 30 of 31 chunks"):
        store.promote(_ID, 31)
    wire.queue = [5]
    assert store.promote(_ID, 30) is None
    assert store.promote(other, 40) == _ID
    assert wire.aliases == {"ForebayChunks": f"ForebayChunks_{other}"}
    assert store.promote(_ID, 30) == other
    assert store.current_id() == _ID
    moves = [(method, path, body) for method, path, body, _ in wire.rest if "aliases" in path and method != "GET"]
    assert moves == [
        ("POST", "aliases", {"class": f"ForebayChunks_{_ID}", "alias": "ForebayChunks"}),
        ("PUT", "aliases/ForebayChunks", {"class": f"ForebayChunks_{other}"}),
        ("PUT", "aliases/ForebayChunks", {"class": f"ForebayChunks_{_ID}"}),
    ]
    with pytest.raises(ReleaseError, match="is current"):
        store.remove(_ID)
    store.remove(other)
    assert other not in "".join(wire.classes)


def test_a_release_whose_vectors_are_not_indexed_in_time_is_not_promoted(wire, open_store):
    store = open_store(drain_timeout_s=0.01)
    _load(store, _ROWS[:5])
    wire.queue = [3, 3, 3]
    with pytest.raises(ReleaseError, match="3 vectors"):
        store.promote(_ID, 5)
    assert not wire.aliases


@pytest.fixture
def release(open_store):
    opened = []

    def loaded(rows=_ROWS, **settings):
        store, manifest = open_store(**settings), cluster_release(_EMBEDDER, len(rows), "c")
        _load(store, rows, release_id=manifest.release_id)
        opened.append(store.open(manifest))
        return opened[-1]

    yield loaded
    for one in opened:
        one.close()


def _request(text, **how):
    (vector,) = _EMBEDDER.embed_queries([text])
    return SearchRequest(text, vector, **{"caller": EVERYTHING, **how})


def test_a_hybrid_search_fuses_both_legs_by_rank(wire, release):
    (hits,) = release().search([_request("study number17", top_k=5)])
    assert hits[0].doc_id == "d17"
    assert hits[0].score == pytest.approx(2 / 61)
    assert hits[0].metadata == {"year": 1967}
    assert hits[0].similarity == pytest.approx(float(_ROWS[17]["vector"] @ _request("study number17").vector), abs=1e-5)
    dense, words = sorted(wire.searches, key=lambda search: search.HasField("bm25_search"))
    assert dense.near_vector.vectors[0].vector_bytes == packed(_request("study number17").vector)
    assert (words.bm25_search.query, list(words.bm25_search.properties)) == (
        "study number17",
        ["title_words", "heading_path", "text"],
    )
    assert {search.consistency_level for search in wire.searches} == {base_pb2.CONSISTENCY_LEVEL_ONE}


@pytest.mark.parametrize("mode", SearchMode)
def test_one_leg_or_both_are_asked_and_every_hit_of_a_vector_search_has_a_similarity(wire, release, mode):
    (hits,) = release().search([_request("number17", mode=mode)])
    assert len(wire.searches) == (2 if mode == SearchMode.HYBRID else 1)
    assert hits[0].doc_id == "d17"
    assert all((hit.similarity is None) == (mode == SearchMode.BM25) for hit in hits)


@pytest.mark.parametrize("caller", [PUBLIC, Caller("acme"), Caller("acme", frozenset({"a", "b"}))])
@pytest.mark.parametrize("where", [{}, {"or": [{"source": "tests"}, {"metadata.year": [1950, 1951]}]}])
def test_what_the_caller_may_find_is_in_every_question(wire, release, caller, where):
    opened = release()
    requests = [_request("wing lift", caller=caller, where=where, mode=mode, top_k=350) for mode in SearchMode]
    for hits in opened.search(requests):
        tenants = {hit.metadata.get("tenant") for hit in hits}
        assert tenants == ({None} if caller == PUBLIC else {None, "acme"})
    assert len(wire.searches) == 4
    for search in wire.searches:
        access = search.filters.filters[1 if where else 0 :]
        assert search.filters.operator == base_pb2.Filters.OPERATOR_AND
        assert '["tenant"]' in str(access).replace("\\", "")
        assert '["groups"]' in str(access).replace("\\", "")


def test_counts_and_ranges(release):
    opened = release()
    assert opened.count() == 350
    assert opened.count({"metadata.year": [1950, 1951]}) == 2
    with pytest.raises(FilterError, match="range"):
        opened.search([_request("wing", where={"metadata.year": {"gte": 1}})])


def test_a_vector_of_another_dimension_is_refused(release):
    with pytest.raises(ReleaseError, match="dimension 64"):
        release().search([SearchRequest("wing", _EMBEDDER.embed_queries(["wing"])[0][:3])])


def test_a_release_that_is_not_complete_can_not_be_opened(open_store):
    store, manifest = open_store(), cluster_release(_EMBEDDER, len(_ROWS), "c")
    _load(store, _ROWS[:9], release_id=manifest.release_id)
    with pytest.raises(ReleaseError, match="holds 9 of 350 chunks"):
        store.open(manifest)


def test_a_search_that_fails_is_named_and_the_next_one_works(wire, release):
    opened = release(_ROWS[:20])
    wire.faults["search"] = [Fault("deadline_exceeded")]
    with pytest.raises(ReleaseError, match="can't answer"):
        opened.search([_request("wing", mode=SearchMode.DENSE)])
    assert opened.search([_request("wing")])[0]


def test_a_short_outage_is_waited_for_and_a_longer_one_ends_at_our_deadline(wire, release):
    opened = release(_ROWS[:20], search_deadline_s=3)
    wire.faults["search"] = [Fault("unavailable")]
    assert opened.search([_request("wing", mode=SearchMode.DENSE)])[0]
    wire.faults["search"] = [Fault("unavailable")] * 3
    with pytest.raises(ReleaseError, match="within 3 s"):
        opened.search([_request("wing", mode=SearchMode.DENSE)])


def test_no_more_questions_are_under_way_than_allowed(wire, release):
    opened = release(_ROWS[:20], search_deadline_s=0.5, max_concurrent_searches=1)
    wire.faults["search"] = [Fault("wait"), Fault("wait")]
    for number in (1, 2):
        with pytest.raises(ReleaseError, match="1 questions to Weaviate are under way"):
            opened.search([_request("wing")])
        assert len(wire.searches) == number
    assert opened.search([_request("wing")])[0]


def test_what_is_not_answered_by_the_deadline_is_cancelled_at_the_server(wire, release):
    opened = release(_ROWS[:20], search_deadline_s=0.3)
    wire.faults["search"] = [Fault("wait"), Fault("wait")]
    with pytest.raises(ReleaseError, match=r"within 0\.3 s"):
        opened.search([_request("wing")])
    deadline = time.monotonic() + 5
    while wire.cancelled < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert wire.cancelled == 2
    assert opened.search([_request("wing")])[0]


def test_searches_take_turns_on_connections_of_their_own(wire, release):
    opened = release(_ROWS[:20], channels=3)
    assert [len(hits) for hits in opened.search([_request("wing")] * 6)] == [10] * 6
    assert len(wire.peers) == 3


def test_many_threads_search_at_once(wire, release):
    opened = release(_ROWS[:20], max_concurrent_searches=4)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: opened.search([_request(f"number{n % 20}", top_k=1)]), range(64)))
    assert [hits[0].doc_id for (hits,) in found] == [f"d{n % 20}" for n in range(64)]


def _secret(folder):
    path = folder / "secret"
    path.write_text("s3cret\n")
    return path


@pytest.fixture
def secret_file(wire, tmp_path):
    wire.oidc_secret = "s3cret"
    return _secret(tmp_path)


def test_client_credentials_become_tokens_that_are_renewed(wire, release, secret_file):
    wire.token_s = 1
    opened = release(_ROWS[:20], oidc_client_secret_file=secret_file, oidc_scopes=("chunks",), channels=1)
    assert wire.tokens[0]["scope"] == "openid chunks"
    assert (wire.tokens[0]["client_id"], wire.tokens[0]["grant_type"]) == ("forebay", "client_credentials")
    sent_as = {headers.get("authorization") for _, path, _, headers in wire.rest if path.startswith("schema")}
    assert {token.partition("token")[0] for token in sent_as} == {"Bearer "}
    first = wire.metadata[-1]["authorization"]
    deadline = time.monotonic() + 10
    while wire.metadata[-1]["authorization"] == first and time.monotonic() < deadline:
        time.sleep(0.1)
        assert opened.search([_request("wing", mode=SearchMode.DENSE)])[0]
    assert wire.metadata[-1]["authorization"].startswith("Bearer token")
    assert wire.metadata[-1]["authorization"] != first


def test_wrong_ways_of_saying_who_we_are_are_named(wire, secret_file):
    with pytest.raises(ConfigurationError, match="both an API key"):
        connect(wire.settings(oidc_client_secret_file=secret_file, api_key="key"))
    with pytest.raises(ConfigurationError, match="can't be read"):
        connect(wire.settings(oidc_client_secret_file=secret_file.with_name("none")))
    secret_file.write_text("another")
    with pytest.raises(ReleaseError, match="refuses the connection"):
        connect(wire.settings(oidc_client_secret_file=secret_file))


@pytest.mark.parametrize(
    ("answers", "error", "says"),
    [
        (None, ConfigurationError, "has no OIDC.*unset the secret"),
        ((503, {"href": ""}), ReleaseError, "answers 503"),
        ((200, "<html>Sign in</html>"), ReleaseError, "no OIDC configuration.*proxy"),
    ],
)
def test_with_a_client_secret_nobody_goes_on_as_nobody(wire, secret_file, answers, error, says):
    wire.oidc_secret, wire.oidc_answer = "", answers
    settings = wire.settings(oidc_client_secret_file=secret_file)
    with pytest.raises(error, match=says):
        connect(settings)
    with pytest.raises(error, match=says):
        Channels("ForebayChunks", settings)
    # Nothing else was asked of the cluster.
    assert {path for _, path, _, _ in wire.rest} == {".well-known/openid-configuration"}


def test_a_cluster_that_is_not_there_or_a_wrong_address_is_named(wire, tmp_path):
    away = {"url": "http://127.0.0.1:9"}
    with pytest.raises(ReleaseError, match="doesn't answer; start it"):
        connect(wire.settings().model_copy(update=away))
    with pytest.raises(ReleaseError, match="doesn't answer; start it"):
        connect(wire.settings().model_copy(update={**away, "oidc_client_secret_file": _secret(tmp_path)}))
    with pytest.raises(ConfigurationError, match="http://host:port"):
        connect(wire.settings().model_copy(update={"url": "http://host:99999"}))
    with pytest.raises(ConfigurationError, match="can't be read"):
        connect(wire.settings(api_key_file=tmp_path / "none"))
