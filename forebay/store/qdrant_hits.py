"""Reading the points of a release's shards, and hits from their payloads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from qdrant_edge import EdgeShard, FacetRequest, Record

from forebay.store.contract import Hit

__all__ = ["chunks_by_language", "hit_of", "records_of"]

# More than there are languages to detect.
_MAX_LANGUAGES = 1000


def chunks_by_language(shards: Sequence[EdgeShard]) -> Counter[str]:
    """Count the chunks by the language of their documents."""
    request = FacetRequest("language", limit=_MAX_LANGUAGES, exact=True)
    counts = Counter[str]()
    for shard in shards:
        counts.update({str(hit.value): hit.count for hit in shard.facet(request).hits})
    return counts


def records_of(
    shards: Sequence[EdgeShard],
    keys: Sequence[str],
    shard_of: Mapping[str, int],
    *,
    with_payload: bool = True,
    with_vector: bool | list[str] = False,
) -> dict[str, Record]:
    """Read chunks by their ids; `shard_of` gives the position of the shard that holds each."""
    records: dict[str, Record] = {}
    for number, shard in enumerate(shards):
        wanted: list[int | UUID | str] = [key for key in dict.fromkeys(keys) if shard_of[key] == number]
        if wanted:
            found = shard.retrieve(wanted, with_payload=with_payload, with_vector=with_vector)
            records |= {str(record.id): record for record in found}
    return records


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
