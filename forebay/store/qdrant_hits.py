"""Reading a hit from the payload of a shard's point."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from forebay.store.contract import Hit

__all__ = ["hit_of"]


def hit_of(chunk_id: str, score: float, similarity: float | None, payload: Mapping[str, Any]) -> Hit:
    """Give the passage that a point stands for."""
    return Hit(
        chunk_id=chunk_id,
        doc_id=payload["doc_id"],
        score=score,
        similarity=similarity,
        # A document that gives no title goes by the name of its file.
        title=payload["title"] or PurePosixPath(payload["uri"]).stem,
        text=payload["text"],
        uri=payload["uri"],
        source=payload["source"],
        heading_path=payload["heading_path"],
        page=payload["page"],
        language=payload["language"],
        locations=payload["locations"],
        start_char=payload["start_char"],
        end_char=payload["end_char"],
        text_hash=payload["text_hash"],
        metadata=payload["metadata"],
    )
