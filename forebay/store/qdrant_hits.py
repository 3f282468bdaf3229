"""Reading the points of a release, and hits from their payloads."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, cast
from uuid import UUID

from qdrant_edge import EdgeShard, FacetRequest, Record

from forebay.store.contract import Hit

__all__ = ["chunks_by_language", "hit_of", "records_of"]

# More than there are languages to detect.
_MAX_LANGUAGES = 1000


def chunks_by_language(shard: EdgeShard) -> Counter[str]:
    """Count the chunks by the language of their documents."""
    request = FacetRequest("language", limit=_MAX_LANGUAGES, exact=True)
    return Counter({str(hit.value): hit.count for hit in shard.facet(request).hits})


def records_of(
    shard: EdgeShard, keys: Iterable[UUID], *, with_payload: bool = True, with_vector: bool | list[str] = False
) -> dict[UUID, Record]:
    """Read chunks by their ids."""
    wanted: list[int | UUID | str] = list(dict.fromkeys(keys))
    if not wanted:
        return {}
    found = shard.retrieve(wanted, with_payload=with_payload, with_vector=with_vector)
    return {cast("UUID", record.id): record for record in found}


def hit_of(key: UUID, score: float, similarity: float | None, payload: Mapping[str, Any]) -> Hit:
    """Give the passage that a point stands for."""
    return Hit(
        chunk_id=str(key),
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
