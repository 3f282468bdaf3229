"""The chunks around a hit in its document, as shards hold them."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from qdrant_edge import CountRequest, EdgeShard, FieldCondition, Filter, MatchAny, ScrollRequest

from forebay.store.contract import Hit, SearchRequest, SectionPart
from forebay.store.neighbours import Place, with_chunks_around
from forebay.store.qdrant_hits import records_of

__all__ = ["with_neighbours"]


def with_neighbours(shard: EdgeShard, hits: Sequence[Hit], where: Filter | None, request: SearchRequest) -> list[Hit]:
    """Add the chunks around each hit; they are inside the filter of the search, as hits are."""
    places = [place for doc_id in {hit.doc_id for hit in hits} for place in _places(shard, doc_id, where)]
    return with_chunks_around(hits, request, places, lambda ids: _read(shard, ids))


def _places(shard: EdgeShard, doc_id: str, where: Filter | None) -> list[Place]:
    """Find the chunks of a document inside a filter."""
    own = FieldCondition(key="doc_id", match=MatchAny([doc_id]))
    inside = Filter(must=[own] if where is None else [own, where])
    limit = shard.count(CountRequest(exact=True, filter=inside))
    wanted = ["start_char", "heading_path", "page"]
    chunks, _ = shard.scroll(ScrollRequest(limit=limit, filter=inside, with_payload=wanted))
    return [Place(doc_id=doc_id, chunk_id=str(chunk.id), **(chunk.payload or {})) for chunk in chunks]


def _read(shard: EdgeShard, ids: Sequence[str]) -> Mapping[str, SectionPart]:
    records = records_of(shard, [UUID(one) for one in ids])
    payloads = {str(key): record.payload or {} for key, record in records.items()}
    return {key: SectionPart(key, held["start_char"], held["end_char"], held["text"]) for key, held in payloads.items()}
