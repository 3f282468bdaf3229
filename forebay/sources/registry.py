"""Which connector reads which source; a new connector is registered here."""

from collections.abc import Callable
from pathlib import Path

from forebay.errors import ConfigurationError
from forebay.sources.contract import Source
from forebay.sources.names import refuse_credentials

__all__ = ["CONNECTORS", "open_source"]


def _folder(name: str) -> Source:
    from forebay.sources.folder import FolderSource

    return FolderSource(Path(name.removeprefix("file://")))


def _kafka(name: str) -> Source:
    from forebay.settings import KafkaSettings
    from forebay.sources.kafka import KafkaSource
    from forebay.sources.kafka_address import KafkaAddress

    return KafkaSource(KafkaAddress.parse(name), KafkaSettings())


def _object_store(name: str) -> Source:
    from forebay.sources.object_store import ObjectStoreSource

    return ObjectStoreSource(name)


def _git(name: str) -> Source:
    from forebay.settings import PathSettings
    from forebay.sources.git import GitSource

    return GitSource(name, PathSettings().home / "git")


def _sitemap(name: str) -> Source:
    from forebay.settings import WebSettings
    from forebay.sources.sitemap import SitemapSource

    return SitemapSource(name, WebSettings())


CONNECTORS: dict[str, Callable[[str], Source]] = {
    "": _folder,
    "file": _folder,
    "s3": _object_store,
    "s3a": _object_store,
    "gs": _object_store,
    "gcs": _object_store,
    "abfs": _object_store,
    "abfss": _object_store,
    "az": _object_store,
    "git+https": _git,
    "git+ssh": _git,
    "git+file": _git,
    "git+http": _git,
    "sitemap+https": _sitemap,
    "sitemap+http": _sitemap,
    "kafka": _kafka,
}
"""Connectors by the scheme of the source's name; the empty one is a path. Imports wait until a source is opened."""


def open_source(name: str) -> Source:
    """Make the connector of a source.

    Args:
        name: A path, or an address such as `s3://bucket/folder`.

    Raises:
        ConfigurationError: no connector knows the scheme, or the name holds credentials or is otherwise wrong.
    """
    refuse_credentials(name)
    scheme = name.partition("://")[0] if "://" in name else ""
    connector = CONNECTORS.get(scheme)
    if connector is None:
        known = ", ".join(f"{scheme}://" for scheme in CONNECTORS if scheme)
        raise ConfigurationError(f"no connector reads the source {name!r}; give a path, or an address with {known}.")
    return connector(name)
