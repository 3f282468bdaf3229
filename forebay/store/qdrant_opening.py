"""Opening the shards of a release as one, which Qdrant Edge then searches side by side."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qdrant_edge import EdgeShard

from forebay.store.qdrant_build import CONFIG

__all__ = ["open_together", "read_ahead"]

_SEGMENTS = "segments"
# The vectors in 8 bits and the BM25 index.
_READ_WHOLE = ("quantized.data", "inverted_index.dat")
_READ_BYTES = 4 * 2**20


def open_together(folders: Sequence[Path], threads: int) -> EdgeShard:
    """Open shards as if their segments were those of one.

    Args:
        folders: Folders of shards that were built with the same settings, at least one.
        threads: That one search uses.

    Returns:
        What must only be read; writing would change the shards.
    """
    for folder in folders:
        read_ahead(folder)
    # Whatever Qdrant writes beside the segments while it opens them is gone with the folder; the segments stay mapped.
    with tempfile.TemporaryDirectory(prefix="forebay-opening-") as temporary:
        together = Path(temporary)
        config = json.loads((folders[0] / CONFIG).read_bytes()) | {"max_search_threads": threads}
        (together / CONFIG).write_text(json.dumps(config))
        (together / _SEGMENTS).mkdir()
        for folder in folders:
            for segment in (folder / _SEGMENTS).iterdir():
                (together / _SEGMENTS / segment.name).symlink_to(segment.resolve(), target_is_directory=True)
        return EdgeShard.load(temporary)


def read_ahead(folder: Path) -> None:
    """Read what Qdrant takes into memory when it opens a shard.

    It does so page by page, and lets the system forget the files each time: of a million chunks that takes 8 s, and
    with the pages there already 1 s (`docs/retrieval.md`).
    """
    buffer = bytearray(_READ_BYTES)
    for name in _READ_WHOLE:
        for path in folder.rglob(name):
            with path.open("rb", buffering=0) as stream:
                while stream.readinto(buffer):
                    pass
