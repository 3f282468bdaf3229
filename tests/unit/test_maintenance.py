import os
import time
from datetime import UTC, datetime, timedelta

import lance
import pyarrow as pa
import pytest

from forebay.canary.observations import Observation
from forebay.canary.settling import introduce, reject_by_hand
from forebay.canary.trials import CanaryRegistry
from forebay.candidates import Candidate
from forebay.documents import QUARANTINE
from forebay.maintenance import maintain
from forebay.releases import ReleaseRegistry
from forebay.settings import CorpusSettings, MaintenanceSettings, PathSettings, ReleaseSettings
from forebay.tables import quarantine_table
from forebay.testing import HashEmbedder
from tests.releases import build_release, sealed_release

_NOW = MaintenanceSettings(retention_days=0)


@pytest.fixture
def paths(tmp_path):
    return PathSettings(data=tmp_path)


def _reject(number):
    row = {name: f"{name} {number}" for name in QUARANTINE.names}
    return pa.Table.from_pylist([row], QUARANTINE)


def _filled(paths, versions=6):
    table = quarantine_table(paths.tables)
    table.prepare("run")
    for number in range(versions):
        table.append(_reject(number))
        table.publish()
    return table


def test_small_files_are_joined_and_old_versions_go(paths):
    table = _filled(paths)
    table.set_tag("done", table.published_version())
    report = maintain(paths, _NOW)
    assert report.versions_removed >= 6
    dataset = lance.dataset(table.uri)
    assert len(dataset.get_fragments()) == 1
    assert table.published().count_rows() == 6
    assert table.tag("done") == table.published_version() == dataset.version


def test_within_the_retention_everything_can_still_be_read(paths):
    table = _filled(paths)
    before = [entry["version"] for entry in lance.dataset(table.uri).versions()]
    maintain(paths, MaintenanceSettings(retention_days=1))
    assert set(before) <= {entry["version"] for entry in lance.dataset(table.uri).versions()}


def test_what_was_not_published_is_undone_first(paths):
    table = _filled(paths)
    table.append(_reject("lost"))
    maintain(paths, _NOW)
    assert table.newest().count_rows() == table.published().count_rows() == 6


def test_live_releases_and_what_they_were_made_from_stay(paths):
    registry, embedder = ReleaseRegistry(paths.releases), HashEmbedder()
    table = _filled(paths)
    made_from = table.published_version() - 3
    old = datetime.now(UTC) - timedelta(days=30)
    manifests = []
    for number in range(3):
        documents = [(f"d{number}-{n}", "t", f"text {number} {n}", {}) for n in range(4)]
        manifest = build_release(paths.shards, documents, embedder)
        versions = {"quarantine": made_from}
        manifests.append(registry.save(manifest.model_copy(update={"created_at": old, "table_versions": versions})))
        registry.promote(manifest.release_id, shards=paths.shards)
    report = maintain(paths, _NOW)
    assert report.releases_removed == 1
    assert {m.release_id for m in registry.list()} == {m.release_id for m in manifests[1:]}
    assert report.shards_removed == len(manifests[0].shards)
    for manifest in manifests[1:]:
        assert all((paths.shards / ref.path).is_dir() for ref in manifest.shards)
    assert table.holds_version(made_from)
    assert registry.rollback(shards=paths.shards) == manifests[1].release_id


def test_a_canary_and_what_waits_for_it_stay_and_trials_of_others_go(paths):
    registry, canaries = ReleaseRegistry(paths.releases), CanaryRegistry(paths.releases)
    settings = ReleaseSettings(canary_share=0.1)
    old = datetime.now(UTC) - timedelta(days=30)
    manifests = [registry.save(sealed_release(paths.shards, f"c{n}", created_at=old)) for n in range(4)]
    current, rejected, canary, waiting = manifests
    introduce(current.release_id, paths, settings)
    introduce(rejected.release_id, paths, settings)
    reject_by_hand(paths)
    introduce(canary.release_id, paths, settings)
    introduce(waiting.release_id, paths, settings)
    canaries.note(canaries.current(), Observation(question="1"))
    assert maintain(paths, _NOW).releases_removed == 1
    assert {m.release_id for m in registry.list()} == {m.release_id for m in (current, canary, waiting)}
    assert all((paths.shards / m.shards[0].path).is_dir() for m in (current, canary, waiting))
    assert not (paths.shards / rejected.shards[0].path).exists()
    assert canaries.rejection(rejected.release_id) is None
    assert len(canaries.observations(canaries.current()).searches) == 1


def test_a_candidate_that_was_rolled_back_stays_rejected(paths):
    registry = ReleaseRegistry(paths.releases)
    old = datetime.now(UTC) - timedelta(days=30)
    for content in ("c1", "c2"):
        manifest = sealed_release(paths.shards, content, created_at=old, corpus=CorpusSettings().name)
        introduce(registry.save(manifest).release_id, paths, ReleaseSettings(canary_share=0.1))
    reject_by_hand(paths)
    refs = {ref.number: ref for ref in manifest.shards}
    Candidate(embedding=manifest.embedding, index=manifest.index, shards=refs, table_versions={}).save(paths.shards)
    maintain(paths, _NOW)
    assert not registry.holds(manifest.release_id)
    assert CanaryRegistry(paths.releases).rejection(manifest.release_id) is not None


def test_a_candidates_shards_stay_and_abandoned_builds_go(paths):
    manifest = build_release(paths.shards, [("d", "t", "text", {})], HashEmbedder(), shards=1)
    refs = {ref.number: ref for ref in manifest.shards}
    Candidate(embedding=manifest.embedding, index=manifest.index, layout="1", shards=refs, table_versions={}).save(
        paths.shards
    )
    abandoned = paths.shards / "s000" / ".building-abc-999999999-xyz"
    running = paths.shards / "s000" / f".building-abc-{os.getpid()}-xyz"
    for folder in (abandoned, running):
        folder.mkdir()
    maintain(paths, _NOW)
    assert (paths.shards / refs[0].path).is_dir()
    assert not abandoned.exists()
    assert running.exists()


def test_embeddings_of_a_model_that_nothing_uses_go_once_they_are_old(paths):
    unused = paths.tables / "embeddings-0123456789ab.lance"
    unused.mkdir(parents=True)
    maintain(paths, MaintenanceSettings(retention_days=1))
    assert unused.exists()
    # Embedding that takes longer than the retention: the table is old, what was committed last isn't.
    week_ago = time.time() - 7 * 86400
    (unused / "data").mkdir()
    fresh = unused / "data" / "fresh.lance"
    fresh.touch()
    for folder in (unused, unused / "data"):
        os.utime(folder, (week_ago, week_ago))
    maintain(paths, MaintenanceSettings(retention_days=1))
    assert fresh.exists()
    os.utime(fresh, (week_ago, week_ago))
    maintain(paths, MaintenanceSettings(retention_days=1))
    assert not unused.exists()
