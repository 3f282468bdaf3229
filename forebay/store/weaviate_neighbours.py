"""The chunks around a hit in its document, as a Weaviate collection holds them."""

from collections.abc import Sequence
from typing import Any

from weaviate.classes.query import Filter
from weaviate.collections import CollectionAsync
from weaviate.collections.classes.filters import FilterReturn

from forebay.store.contract import SectionPart
from forebay.store.neighbours import Place

__all__ = ["ask_chunks", "ask_places"]

# What a server gives at most, unless it is told otherwise (QUERY_MAXIMUM_RESULTS).
_MAX_CHUNKS = 10_000


async def ask_places(
    collection: CollectionAsync[Any, Any], doc_ids: Sequence[str], filters: FilterReturn | None
) -> list[Place]:
    """Find the chunks of documents, inside a filter; of very long ones not all."""
    own = Filter.by_property("doc_id").contains_any(list(doc_ids))
    answer = await collection.query.fetch_objects(
        filters=own if filters is None else Filter.all_of([own, filters]),
        limit=_MAX_CHUNKS,
        return_properties=["doc_id", "start_char", "heading_path", "page"],
    )
    return [
        Place(
            doc_id=item.properties["doc_id"],
            start_char=int(item.properties["start_char"]),
            chunk_id=str(item.uuid),
            heading_path=item.properties["heading_path"],
            page=int(item.properties["page"]),
        )
        for item in answer.objects
    ]


async def ask_chunks(collection: CollectionAsync[Any, Any], chunk_ids: Sequence[str]) -> list[SectionPart]:
    """Read chunks; those that are gone are missing."""
    answer = await collection.query.fetch_objects_by_ids(
        list(chunk_ids), limit=len(chunk_ids), return_properties=["start_char", "end_char", "text"]
    )
    return [
        SectionPart(
            chunk_id=str(item.uuid),
            start_char=int(item.properties["start_char"]),
            end_char=int(item.properties["end_char"]),
            text=item.properties["text"],
        )
        for item in answer.objects
    ]
