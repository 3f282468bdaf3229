"""Keep a data folder small: compact the tables, drop what nothing can need any more.

What the current release, the one before it, the canary and the candidate were made from is never touched.
"""

import shutil
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import lance

from forebay.canary.trials import CanaryRegistry
from forebay.candidates import Candidate
from forebay.chunks import CHUNKS
from forebay.documents import COMPARISONS, DOCUMENTS, DUPLICATES, QUARANTINE, UNITS
from forebay.releases import ReleaseManifest, ReleaseRegistry, release_id
from forebay.settings import CorpusSettings, IndexSettings, MaintenanceSettings, PathSettings
from forebay.store.shard_files import is_abandoned_staging
from forebay.tables import Table, embedding_schema

__all__ = ["MaintenanceReport", "maintain"]

_KEPT = "kept-"


@dataclass(frozen=True)
class MaintenanceReport:
    """What was cleaned."""

    bytes_before: dict[str, int]
    """Size of each table."""
    bytes_after: dict[str, int]
    """Size of each table that is still there."""
    versions_removed: int
    """Old versions of tables."""
    shards_removed: int
    """Index shards that no kept release names."""
    releases_removed: int
    """Manifests."""
    collections_removed: int
    """Collections in Weaviate of releases that aren't kept, or weren't finished within the retention."""


def maintain(paths: PathSettings, settings: MaintenanceSettings) -> MaintenanceReport:
    """Compact and clean a data folder; the caller sees to it that no job writes meanwhile.

    Raises:
        ConfigurationError: the settings of the cluster are wrong; everything else is clean.
        ReleaseError: the canary's pointer is damaged, and nothing was done.
        ReleaseError: the cluster that releases lie in doesn't answer; everything else is clean.
    """
    registry = ReleaseRegistry(paths.releases)
    candidate = Candidate.load(paths.shards)
    kept = _kept_releases(registry, CanaryRegistry(paths.releases), settings)
    stores = {m.index.store for m in [*registry.list(), *([candidate] if candidate else [])]} | {IndexSettings().store}
    removed = [manifest for manifest in registry.list() if manifest.release_id not in {m.release_id for m in kept}]
    for manifest in removed:
        registry.remove(manifest.release_id)
    CanaryRegistry(paths.releases).forget_all_but({m.release_id for m in kept} | _ids_of(candidate))
    shards = _remove_shards(paths.shards, kept, candidate)
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    versions = 0
    for table in _tables(paths.tables, kept, candidate):
        before[table.path.stem] = table.size_bytes()
        versions += _clean_table(table, _needed_versions(table, kept, candidate), settings)
        after[table.path.stem] = table.size_bytes()
    for path in _unused_embeddings(paths.tables, kept, candidate, settings):
        before[path.stem] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        shutil.rmtree(path)
    collections = _remove_collections(kept, candidate, settings) if "weaviate" in stores else 0
    return MaintenanceReport(before, after, versions, shards, len(removed), collections)


def _kept_releases(
    registry: ReleaseRegistry, canaries: CanaryRegistry, settings: MaintenanceSettings
) -> list[ReleaseManifest]:
    """Choose the current and the previous release, the canary, what waits for it, and those within the retention."""
    named = {registry.current_id(), registry.previous_id()}
    if (canary := canaries.current()) is not None:
        named |= {canary.release_id, canary.waiting}
    oldest = time.time() - settings.retention_days * 86400
    return [m for m in registry.list() if m.release_id in named or m.created_at.timestamp() >= oldest]


def _remove_shards(folder: Path, kept: list[ReleaseManifest], candidate: Candidate | None) -> int:
    needed = {ref.path for manifest in kept for ref in manifest.shards}
    needed |= set() if candidate is None else {ref.path for ref in candidate.shards.values()}
    removed = 0
    for path in sorted(folder.glob("s*/*")):
        if path.name.startswith("."):
            if is_abandoned_staging(path):
                shutil.rmtree(path)
        elif path.relative_to(folder).as_posix() not in needed:
            shutil.rmtree(path)
            removed += 1
    return removed


def _remove_collections(kept: list[ReleaseManifest], candidate: Candidate | None, settings: MaintenanceSettings) -> int:
    """Remove what no kept release and no candidate names, once it is old: a load that isn't done yet has neither."""
    # The client is heavy, and only some data folders need it.
    from forebay.store.weaviate_store import connected_store

    needed = {manifest.release_id for manifest in kept} | _ids_of(candidate)
    # A candidate of some partitions only lies in the collection of the release that has all of them.
    needed |= set() if candidate is None else {candidate.release}
    oldest = time.time() - settings.retention_days * 86400
    with connected_store() as store:
        needed.add(store.current_id() or "")
        unused = {
            found
            for found, created in store.created().items()
            if found not in needed and (created is None or created.timestamp() < oldest)
        }
        for found in sorted(unused):
            store.remove(found)
    return len(unused)


def _ids_of(candidate: Candidate | None) -> set[str]:
    if candidate is None:
        return set()
    contents = {number: ref.content for number, ref in candidate.shards.items()}
    return {release_id(CorpusSettings().name, candidate.embedding, candidate.index, contents)}


def _tables(folder: Path, kept: list[ReleaseManifest], candidate: Candidate | None) -> list[Table]:
    schemas = {
        "documents": DOCUMENTS,
        "units": UNITS,
        "comparisons": COMPARISONS,
        "duplicates": DUPLICATES,
        "quarantine": QUARANTINE,
        "chunks": CHUNKS,
    }
    tables = [Table(folder / f"{name}.lance", schema) for name, schema in schemas.items()]
    specs = {m.embedding.fingerprint: m.embedding for m in [*kept, *([candidate] if candidate else [])]}
    tables += [Table(folder / f"embeddings-{name}.lance", embedding_schema(spec.dim)) for name, spec in specs.items()]
    return [table for table in tables if table.path.exists()]


def _needed_versions(table: Table, kept: list[ReleaseManifest], candidate: Candidate | None) -> set[int]:
    """Give the versions of a table that a kept release or the candidate was made from."""
    makers = [*kept, *([candidate] if candidate else [])]
    name, _, fingerprint = table.path.stem.partition("-")
    return {
        maker.table_versions[name]
        for maker in makers
        if name in maker.table_versions and fingerprint in ("", maker.embedding.fingerprint)
    }


def _clean_table(table: Table, needed: set[int], settings: MaintenanceSettings) -> int:
    table.prepare()
    for version in needed:
        if table.holds_version(version):
            table.set_tag(f"{_KEPT}{version}", version)
    for name, version in table.tags().items():
        if name.startswith(_KEPT) and version not in needed:
            table.clear_tags(name)
    table.compact(settings.rows_per_fragment)
    versions = len(lance.dataset(table.uri).versions())
    # Versions with a tag stay whatever their age; files of killed tasks go once they are old enough.
    lance.dataset(table.uri).cleanup_old_versions(
        timedelta(days=settings.retention_days), error_if_tagged_old_versions=False
    )
    return versions - len(lance.dataset(table.uri).versions())


def _unused_embeddings(
    folder: Path, kept: list[ReleaseManifest], candidate: Candidate | None, settings: MaintenanceSettings
) -> list[Path]:
    used = {manifest.embedding.fingerprint for manifest in kept}
    used |= set() if candidate is None else {candidate.embedding.fingerprint}
    oldest = time.time() - settings.retention_days * 86400
    return [
        path
        for path in folder.glob("embeddings-*.lance")
        if path.stem.partition("-")[2] not in used and _last_change(path) < oldest
    ]


def _last_change(folder: Path) -> float:
    """Give the time of the last change of anything in a folder, whose own time says nothing of what lies deeper."""
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
