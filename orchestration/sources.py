"""The names of the configured sources, as jobs get them."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["absolute_sources", "local_folders"]


def absolute_sources(names: Sequence[str]) -> list[str]:
    """Make paths absolute, for jobs run elsewhere; addresses such as `s3://bucket/folder` stay as they are."""
    return [name if "://" in name else str(Path(name).absolute()) for name in names]


def local_folders(names: Sequence[str]) -> list[Path]:
    """Pick the sources that are folders of this machine."""
    paths = [Path(name.removeprefix("file://")) for name in names if "://" not in name or name.startswith("file://")]
    return [path.absolute() for path in paths if path.is_dir()]
