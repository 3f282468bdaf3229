"""The number of shards of a data folder, fixed for its life: a document's shard is a hash modulo that number."""

import os

from forebay.errors import ConfigurationError
from forebay.settings import PathSettings
from forebay.tables import document_table

__all__ = ["require_shard_count"]

_FILE = "shard_count"


def require_shard_count(paths: PathSettings, n_shards: int) -> None:
    """Let a data folder have as many shards as its first run had; with another number documents would be lost.

    Raises:
        ConfigurationError: it has another number of shards.
    """
    file = paths.data.absolute() / _FILE
    held = int(file.read_text()) if file.exists() else _least_count(paths, n_shards)
    if held != n_shards:
        raise ConfigurationError(
            f"the data folder {str(paths.data.absolute())!r} has {held} shards, and FOREBAY_CORPUS_SHARDS asks for "
            f"{n_shards}. Set FOREBAY_CORPUS_SHARDS={held}, or start anew in another folder (FOREBAY_DATA): the number "
            "is fixed for a folder's life."
        )
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{_FILE}.{os.getpid()}")
        new.write_text(str(n_shards))
        new.replace(file)


def _least_count(paths: PathSettings, n_shards: int) -> int:
    """Give the number that is asked for, or a larger one that the documents of an earlier version show."""
    table = document_table(paths.tables)
    published = table.published() if table.path.exists() else None
    held = published.to_table(columns=["shard"])["shard"].unique().to_pylist() if published else []
    return max([n_shards, *(number + 1 for number in held)])
