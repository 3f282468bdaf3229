"""Backup and restore of releases that lie in Weaviate."""

import dagster as dg

from forebay.errors import ReleaseError
from forebay.releases import ReleaseManifest, ReleaseRegistry
from forebay.settings import PathSettings, WeaviateSettings
from orchestration.defs.automation import INTERACTIVE

__all__ = ["JOBS", "BackupConfig"]


class BackupConfig(dg.Config):
    """Which backup of which release."""

    release_id: str = ""
    """The release; the current one if empty."""
    backup_id: str = ""
    """Name of the backup, of lower-case letters, digits, `_` and `-`; the release's id if empty."""

    def manifest(self, registry: ReleaseRegistry) -> ReleaseManifest:
        """Read the manifest of the release.

        Raises:
            ReleaseError: there is no such release, or none yet.
        """
        found = registry.load(self.release_id) if self.release_id else registry.current()
        if found is None:
            raise ReleaseError("there is no release yet; run `ingest_job` first.")
        return found


@dg.op
def weaviate_backup(context: dg.OpExecutionContext, config: BackupConfig) -> None:
    """Back the release's collection up."""
    # The client is heavy, and only this job needs it.
    from forebay.store.weaviate_backup import back_up

    manifest, settings = config.manifest(ReleaseRegistry(PathSettings().releases)), WeaviateSettings()
    backup_id = config.backup_id or manifest.release_id
    back_up(manifest, backup_id, settings)
    context.log.info(f"release {manifest.release_id}: backup {backup_id} on {settings.backup_backend}")


@dg.op
def weaviate_restore(context: dg.OpExecutionContext, config: BackupConfig) -> None:
    """Restore the release's collection; where it is the current release, the alias points to it afterwards."""
    from forebay.store.weaviate_backup import restore

    paths = PathSettings()
    registry = ReleaseRegistry(paths.releases)
    manifest = config.manifest(registry)
    backup_id = config.backup_id or manifest.release_id
    restore(manifest, backup_id, WeaviateSettings())
    if manifest.release_id == registry.current_id():
        registry.promote(manifest.release_id, shards=paths.shards)
    context.log.info(f"release {manifest.release_id}: restored {manifest.chunks} chunks from backup {backup_id}")


@dg.job(tags={"dagster/priority": "-10"})
def weaviate_backup_job() -> None:
    """Back the collection of a release up, the current one's by default."""
    weaviate_backup()


@dg.job(tags=INTERACTIVE)
def weaviate_restore_job() -> None:
    """Restore the collection of a release, the current one's by default."""
    weaviate_restore()


JOBS = [weaviate_backup_job, weaviate_restore_job]
