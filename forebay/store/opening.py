"""Opening a release wherever its manifest says that it lies."""

from forebay.releases import ReleaseManifest
from forebay.settings import PathSettings
from forebay.store.contract import ExplainableRelease
from forebay.store.qdrant_edge import QdrantEdgeStore

__all__ = ["open_index"]


def open_index(manifest: ReleaseManifest, paths: PathSettings, threads: int | None = None) -> ExplainableRelease:
    """Open a release for searching.

    Args:
        manifest: The release.
        paths: Where its shards lie.
        threads: Of one search in this process; one for each core where it is left out.

    Raises:
        ConfigurationError: the settings of the cluster that it lies in are wrong.
        ReleaseError: a part of it is missing or damaged, or the cluster doesn't answer.
    """
    if manifest.index.store == "weaviate":
        # The client is heavy, and only some releases need it.
        from forebay.store.weaviate_store import open_cluster_release

        return open_cluster_release(manifest)
    return QdrantEdgeStore(paths.shards, manifest.embedding, manifest.index).open(manifest, threads)
