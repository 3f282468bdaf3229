import json
import shutil
from datetime import UTC, datetime

import pytest

from forebay.errors import ReleaseError
from forebay.releases import Evaluation, ReleaseManifest, ReleaseRegistry, worse_metrics
from forebay.settings import IndexSettings
from forebay.store.contract import ShardRef
from forebay.testing import HashEmbedder
from tests.releases import seal_shard


def _manifest(content="c1", **changes):
    shard = ShardRef(number=0, content=content, path=f"s000/{content}", chunks=3, bytes=10, checksum="x")
    values = {
        "corpus": "default",
        "embedding": HashEmbedder().spec,
        "index": IndexSettings(),
        "shards": (shard,),
        "documents": 2,
        "table_versions": {"chunks": 1},
        "evaluation": Evaluation(questions=0),
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return ReleaseManifest(**(values | changes))


@pytest.fixture
def registry(tmp_path):
    return ReleaseRegistry(tmp_path / "releases")


def test_equal_content_gives_an_equal_id_whenever_it_was_built():
    later = _manifest(created_at=datetime(2027, 1, 1, tzinfo=UTC), table_versions={"chunks": 9})
    assert _manifest().release_id == later.release_id
    assert _manifest("c2").release_id != later.release_id


def test_the_index_settings_are_part_of_the_id():
    assert _manifest(index=IndexSettings(hnsw_m=32)).release_id != _manifest().release_id


def test_ids_and_manifests_of_earlier_versions_last_whatever_the_environment_says(registry, monkeypatch):
    written = registry.save(_manifest())
    assert '"store"' not in written.index.identity
    path = registry._folder / f"{written.release_id}.json"
    document = json.loads(path.read_text())
    del document["index"]["store"]
    path.write_text(json.dumps(document))
    monkeypatch.setenv("FOREBAY_INDEX_STORE", "weaviate")
    assert IndexSettings().store == "weaviate"
    assert registry.load(written.release_id) == written
    assert '"store":"weaviate"' in IndexSettings().identity


def test_there_is_no_current_release_before_the_first(registry):
    assert registry.current() is None
    assert registry.list() == []


@pytest.fixture
def sealed(registry, tmp_path):
    """Saves a manifest of a shard whose files exist."""
    return lambda content: registry.save(_manifest(content, shards=(seal_shard(tmp_path / "shards", content),)))


def test_promotion_moves_the_pointer_and_rollback_moves_it_back(registry, sealed, tmp_path):
    first, second = sealed("c1"), sealed("c2")
    registry.promote(first.release_id, shards=tmp_path / "shards")
    registry.promote(second.release_id, shards=tmp_path / "shards")
    assert registry.current() == second
    assert registry.rollback(shards=tmp_path / "shards") == first.release_id
    assert registry.current() == first
    assert registry.rollback(shards=tmp_path / "shards") == second.release_id


def _change_a_byte(segment):
    segment.write_bytes(segment.read_bytes()[:-1] + b"x")


def _cut(segment):
    segment.write_bytes(segment.read_bytes()[:-1])


def _remove_the_shard(segment):
    shutil.rmtree(segment.parent)


@pytest.mark.parametrize("damage", [_change_a_byte, _cut, _remove_the_shard])
def test_a_damaged_release_is_never_gone_back_to(registry, sealed, tmp_path, damage):
    first, second = sealed("c1"), sealed("c2")
    registry.promote(first.release_id, shards=tmp_path / "shards")
    registry.promote(second.release_id, shards=tmp_path / "shards")
    damage(tmp_path / "shards" / "s000" / "c1" / "segment")
    with pytest.raises(ReleaseError, match=f"{first.release_id} is damaged, so {second.release_id} stays"):
        registry.rollback(shards=tmp_path / "shards")
    assert (registry.current_id(), registry.previous_id()) == (second.release_id, first.release_id)


def test_a_damaged_release_is_not_the_first_either(registry, sealed, tmp_path):
    release_id = sealed("c1").release_id
    _change_a_byte(tmp_path / "shards" / "s000" / "c1" / "segment")
    with pytest.raises(ReleaseError, match="still no current release"):
        registry.promote(release_id, shards=tmp_path / "shards")
    assert registry.current_id() is None


def test_the_current_release_is_not_read_again(registry, sealed, tmp_path):
    """A run with nothing changed ends here, and must not cost a read of the whole index."""
    release_id = sealed("c1").release_id
    registry.promote(release_id, shards=tmp_path / "shards")
    shutil.rmtree(tmp_path / "shards")
    registry.promote(release_id, shards=tmp_path / "shards")
    assert registry.current_id() == release_id


def test_rollback_without_an_earlier_release_is_a_named_error(registry, sealed, tmp_path):
    registry.promote(sealed("c1").release_id, shards=tmp_path / "shards")
    with pytest.raises(ReleaseError, match="no earlier release"):
        registry.rollback(shards=tmp_path / "shards")


def test_an_unknown_release_is_never_promoted(registry, tmp_path):
    with pytest.raises(ReleaseError, match="nope"):
        registry.promote("nope", shards=tmp_path / "shards")
    assert registry.current_id() is None


def test_a_damaged_manifest_is_a_named_error(registry, tmp_path):
    release_id = registry.save(_manifest()).release_id
    path = tmp_path / "releases" / f"{release_id}.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(ReleaseError, match="damaged"):
        registry.load(release_id)


def test_a_manifest_under_another_name_is_refused(registry, tmp_path):
    release_id = registry.save(_manifest()).release_id
    (tmp_path / "releases" / f"{release_id}.json").rename(tmp_path / "releases" / "0123.json")
    with pytest.raises(ReleaseError, match="another release"):
        registry.load("0123")


def test_saving_again_keeps_the_creation_time(registry):
    registry.save(_manifest())
    again = registry.save(_manifest(created_at=datetime(2027, 1, 1, tzinfo=UTC)))
    assert again.created_at == datetime(2026, 1, 1, tzinfo=UTC)


def _rated(ndcg10, recall100, questions_hash="q", search="2"):
    return Evaluation(questions=5, ndcg10=ndcg10, recall100=recall100, questions_hash=questions_hash, search=search)


@pytest.mark.parametrize(
    ("candidate", "worse"),
    [
        (_rated(0.40, 0.80), []),
        (_rated(0.395, 0.795), []),
        (_rated(0.38, 0.80), ["ndcg10"]),
        (_rated(0.30, 0.60), ["ndcg10", "recall100"]),
        (_rated(0.10, 0.10, "other questions"), []),
        (_rated(0.10, 0.10, search="1"), []),
    ],
)
def test_the_gate_compares_metrics_over_the_same_questions(candidate, worse):
    found = worse_metrics(candidate, _rated(0.40, 0.80), margin=0.01)
    assert [line.split()[0] for line in found] == worse
