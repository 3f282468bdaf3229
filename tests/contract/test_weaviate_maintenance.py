"""Which collections of the cluster maintenance removes; against a double of the protocol."""

from datetime import UTC, datetime, timedelta

import pytest

from forebay.candidates import Candidate
from forebay.maintenance import maintain
from forebay.settings import IndexSettings, MaintenanceSettings, PathSettings
from forebay.store.weaviate_store import connected_store
from forebay.testing import HashEmbedder
from tests.releases import cluster_release
from tests.weaviate_wire import Wire, serve

_INDEX = IndexSettings(store="weaviate")
_OF_A_WEEK, _AT_ONCE = MaintenanceSettings(retention_days=7), MaintenanceSettings(retention_days=0)
_ID = "0123456789abcdef"


@pytest.fixture
def wire(monkeypatch):
    held = Wire()
    serve(held)
    monkeypatch.setenv("FOREBAY_INDEX_STORE", "weaviate")
    monkeypatch.setenv("FOREBAY_WEAVIATE_URL", held.url)
    monkeypatch.setenv("FOREBAY_WEAVIATE_GRPC_PORT", str(held.grpc_port))
    yield held
    held.stop()


@pytest.fixture
def paths(tmp_path):
    return PathSettings(data=tmp_path)


@pytest.fixture
def collections(wire):
    def created(release_id, *, days_ago=0):
        with connected_store() as store:
            store.prepare(release_id, _INDEX)
        held = wire.classes[f"ForebayChunks_{release_id}"]
        made = datetime.fromisoformat(held["description"].rpartition(" ")[2])
        assert abs(datetime.now(UTC) - made) < timedelta(minutes=1)
        held["description"] = held["description"].replace(
            made.isoformat(), (made - timedelta(days=days_ago)).isoformat()
        )
        return held

    return created


def _held(wire):
    return {name.removeprefix("ForebayChunks_") for name in wire.classes}


def test_a_collection_that_nothing_names_yet_goes_only_when_it_is_old(wire, paths, collections):
    collections(_ID, days_ago=6)
    collections("f" * 16, days_ago=8)
    assert maintain(paths, _OF_A_WEEK).collections_removed == 1
    assert _held(wire) == {_ID}
    assert maintain(paths, _AT_ONCE).collections_removed == 1
    assert _held(wire) == set()


def test_a_collection_of_an_earlier_version_says_nothing_of_its_age_and_goes(wire, paths, collections):
    del collections(_ID)["description"]
    collections("f" * 16)["description"] = "somebody's notes"
    assert maintain(paths, _OF_A_WEEK).collections_removed == 2


def test_the_collection_of_a_candidate_of_some_partitions_stays_however_old(wire, paths, collections):
    collections(_ID, days_ago=30)
    manifest = cluster_release(HashEmbedder(), 5, "c", _INDEX)
    assert manifest.release_id != _ID
    refs = {ref.number: ref for ref in manifest.shards}
    candidate = Candidate(embedding=manifest.embedding, index=_INDEX, release=_ID, shards=refs, table_versions={})
    candidate.save(paths.shards)
    assert maintain(paths, _AT_ONCE).collections_removed == 0
    assert _held(wire) == {_ID}
    candidate.model_copy(update={"release": ""}).save(paths.shards)
    assert maintain(paths, _AT_ONCE).collections_removed == 1


def test_the_collection_that_the_alias_points_to_stays(wire, paths, collections):
    collections(_ID, days_ago=30)
    wire.aliases["ForebayChunks"] = f"ForebayChunks_{_ID}"
    assert maintain(paths, _AT_ONCE).collections_removed == 0
