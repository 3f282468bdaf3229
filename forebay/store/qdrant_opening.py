"""Opening the shards of a release as one, which Qdrant Edge then searches side by side."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qdrant_edge import EdgeShard

from forebay.store.qdrant_build import CONFIG

__all__ = ["open_together"]

_SEGMENTS = "segments"


def open_together(folders: Sequence[Path], threads: int) -> EdgeShard:
    """Open shards as if their segments were those of one.

    Args:
        folders: Folders of shards that were built with the same settings, at least one.
        threads: That one search uses.

    Returns:
        What must only be read; writing would change the shards.
    """
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
