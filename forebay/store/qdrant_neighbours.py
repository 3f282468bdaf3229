"""The passages before and after a hit in its document."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast
from uuid import UUID

from qdrant_edge import CountRequest, EdgeShard, FieldCondition, Filter, MatchAny, ScrollRequest

from forebay.store.contract import Hit
from forebay.store.qdrant_hits import records_of

__all__ = ["with_neighbours"]


def with_neighbours(shard: EdgeShard, hits: Sequence[Hit], where: Filter | None, count: int) -> list[Hit]:
    """Add the texts before and after each hit; they are inside the filter of the search, as hits are."""
    order = {doc_id: _chunks_of(shard, doc_id, where) for doc_id in {hit.doc_id for hit in hits}}
    around: dict[str, tuple[list[UUID], list[UUID]]] = {}
    for hit in hits:
        keys = order[hit.doc_id]
        at = keys.index(UUID(hit.chunk_id))
        around[hit.chunk_id] = (keys[max(0, at - count) : at], keys[at + 1 : at + 1 + count])
    records = records_of(shard, [key for before, after in around.values() for key in (*before, *after)])
    texts = {key: str((record.payload or {})["text"]) for key, record in records.items()}
    return [
        replace(hit, before=[texts[key] for key in before], after=[texts[key] for key in after])
        for hit, (before, after) in zip(hits, around.values(), strict=True)
    ]


def _chunks_of(shard: EdgeShard, doc_id: str, where: Filter | None) -> list[UUID]:
    """Find the chunks of a document inside a filter: their ids in the document's order."""
    own = FieldCondition(key="doc_id", match=MatchAny([doc_id]))
    inside = Filter(must=[own] if where is None else [own, where])
    limit = shard.count(CountRequest(exact=True, filter=inside))
    chunks, _ = shard.scroll(ScrollRequest(limit=limit, filter=inside, with_payload=["start_char"]))
    found = [((chunk.payload or {})["start_char"], cast("UUID", chunk.id)) for chunk in chunks]
    return [key for _, key in sorted(found)]
