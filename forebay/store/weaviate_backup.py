"""Backups of a release's collection, which the cluster itself writes to its backend."""

from weaviate.backup.backup import BackupStorage
from weaviate.exceptions import WeaviateBaseError

from forebay.errors import ReleaseError
from forebay.releases import ReleaseManifest
from forebay.settings import WeaviateSettings
from forebay.store.weaviate_connection import connect
from forebay.store.weaviate_schema import collection_name
from forebay.store.weaviate_store import WeaviateStore

__all__ = ["back_up", "restore"]


def back_up(manifest: ReleaseManifest, backup_id: str, settings: WeaviateSettings) -> None:
    """Have the collection of a release backed up, and wait until it is.

    Args:
        manifest: The release; its manifest itself is no part of the backup.
        backup_id: Name of the backup, new for the backend.
        settings: Which cluster, and which backend of it.

    Raises:
        ConfigurationError: the settings are wrong.
        ReleaseError: the release has files, isn't whole in the cluster, or the cluster doesn't finish the backup.
    """
    name = _collection(manifest, settings)
    with connect(settings) as client:
        WeaviateStore(client, settings).verify(manifest)
        try:
            client.backup.create(
                backup_id, BackupStorage(settings.backup_backend), include_collections=[name], wait_for_completion=True
            )
        except WeaviateBaseError as exc:
            raise ReleaseError(
                f"Weaviate doesn't finish the backup {backup_id!r} of {name!r} on {settings.backup_backend!r}: {exc}"
            ) from exc


def restore(manifest: ReleaseManifest, backup_id: str, settings: WeaviateSettings) -> None:
    """Have the collection of a release restored, wait until it is, and see whether it is whole; no alias moves.

    Args:
        manifest: The release.
        backup_id: Name of the backup.
        settings: Which cluster, and which backend of it.

    Raises:
        ConfigurationError: the settings are wrong.
        ReleaseError: the release has files or its collection is there already, the cluster doesn't finish, or what it
            restored isn't the whole release.
    """
    name = _collection(manifest, settings)
    with connect(settings) as client:
        try:
            if client.collections.exists(name):
                raise ReleaseError(
                    f"the collection {name!r} is in Weaviate already, and Weaviate restores only what isn't there; if "
                    "it is damaged, delete it first."
                )
            client.backup.restore(
                backup_id, BackupStorage(settings.backup_backend), include_collections=[name], wait_for_completion=True
            )
        except WeaviateBaseError as exc:
            raise ReleaseError(
                f"Weaviate doesn't restore {name!r} from the backup {backup_id!r} on {settings.backup_backend!r}: {exc}"
            ) from exc
        WeaviateStore(client, settings).verify(manifest)


def _collection(manifest: ReleaseManifest, settings: WeaviateSettings) -> str:
    if manifest.index.store != "weaviate":
        raise ReleaseError(
            f"the release {manifest.release_id} lies in files; `forebay release push` and `pull` move it."
        )
    return collection_name(settings.alias, manifest.release_id)
