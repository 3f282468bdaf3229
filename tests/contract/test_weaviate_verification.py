"""Which releases are whole in a Weaviate cluster: every partition is counted before the alias moves."""

import pytest

from forebay.errors import ReleaseError
from forebay.releases import ReleaseRegistry
from forebay.settings import IndexSettings
from forebay.store.stems import ChunkStems
from forebay.store.weaviate_backup import back_up
from forebay.store.weaviate_schema import chunk_properties
from tests.releases import partitioned_release
from tests.weaviate_cluster import EMBEDDER, ROWS, load
from tests.weaviate_wire import Fault, packed

_PARTITIONS, _EACH = 14, 2
_RELEASE = partitioned_release(
    EMBEDDER, {number: (f"c{number}", _EACH) for number in range(_PARTITIONS)}, IndexSettings(store="weaviate")
)
_NAME = f"ForebayChunks_{_RELEASE.release_id}"


def _rows(number):
    return ROWS[number * _EACH : (number + 1) * _EACH]


@pytest.fixture
def store(wire, open_store):
    opened = open_store()
    opened.prepare(_RELEASE.release_id, _RELEASE.index)
    for number in range(_PARTITIONS):
        for row in _rows(number):
            _put(wire, row, number, f"c{number}")
    return opened


def _put(wire, row, number, content):
    """Hold a chunk as a load would have left it."""
    properties = chunk_properties(row, number, content, ChunkStems(_RELEASE.index))
    wire.objects[_NAME][row["chunk_id"]] = (properties, packed(row["vector"]))


def _move(wire, number, to):
    """Lose a chunk of a partition, and let another one have one too many."""
    _put(wire, _rows(number)[0], to, f"c{to}")


def test_a_whole_release_is_promoted_after_one_count_for_each_partition_and_one_for_all(wire, store):
    wire.counts.clear()
    assert store.promote(_RELEASE) is None
    assert len(wire.counts) == _PARTITIONS + 1
    assert wire.aliases == {"ForebayChunks": _NAME}


def test_partitions_that_differ_are_named_though_the_total_is_right(wire, store):
    _move(wire, 3, to=7)
    with pytest.raises(ReleaseError, match=r"2 of 14 partitions .*\(s003 1 of 2, s007 3 of 2\).*`ingest_job`"):
        store.promote(_RELEASE)
    assert not wire.aliases
    # The total is all that a start of a retriever asks for.
    store.open(_RELEASE).close()
    load(store, _rows(3), 3, "c3", _RELEASE.release_id)
    assert store.promote(_RELEASE) is None


def test_a_partition_of_another_content_is_named(wire, store):
    for row in _rows(5):
        _put(wire, row, 5, "older")
    with pytest.raises(ReleaseError, match=r"1 of 14 partitions .*\(s005 0 of 2\)"):
        store.promote(_RELEASE)


def test_of_many_partitions_the_first_ones_are_named(wire, store):
    wire.objects[_NAME].clear()
    with pytest.raises(ReleaseError, match=r"14 of 14 .*\(s000 0 of 2, .*s009 0 of 2, \.\.\.\)"):
        store.promote(_RELEASE)


def test_what_belongs_to_no_partition_of_the_release_is_noticed(wire, store):
    _put(wire, ROWS[-1], 99, "c99")
    with pytest.raises(ReleaseError, match="holds 29 of 28 chunks"):
        store.promote(_RELEASE)


def test_a_cluster_that_fails_meanwhile_is_named_and_nothing_moves(wire, store):
    wire.faults["aggregate"] = [Fault("internal")]
    with pytest.raises(ReleaseError, match=r"(?s)counting the partitions.*injected internal"):
        store.promote(_RELEASE)
    assert not wire.aliases


def test_what_would_be_promoted_later_or_is_backed_up_is_looked_at_as_closely(wire, store, tmp_path, monkeypatch):
    monkeypatch.setenv("FOREBAY_WEAVIATE_URL", wire.url)
    monkeypatch.setenv("FOREBAY_WEAVIATE_GRPC_PORT", str(wire.grpc_port))
    registry = ReleaseRegistry(tmp_path)
    registry.save(_RELEASE)
    registry.check(_RELEASE.release_id, shards=tmp_path)
    _move(wire, 1, to=2)
    with pytest.raises(ReleaseError, match=r"\(s001 1 of 2, s002 3 of 2\)"):
        registry.check(_RELEASE.release_id, shards=tmp_path)
    with pytest.raises(ReleaseError, match=r"\(s001 1 of 2, s002 3 of 2\)"):
        back_up(_RELEASE, "full", wire.settings())
    with pytest.raises(ReleaseError, match=r"\(s001 1 of 2, s002 3 of 2\)"):
        registry.promote(_RELEASE.release_id, shards=tmp_path)
    assert registry.current_id() is None
