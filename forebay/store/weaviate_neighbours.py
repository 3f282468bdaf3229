"""The passages before and after a hit in its document, as a Weaviate collection holds them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from weaviate.classes.query import Filter
from weaviate.collections import CollectionAsync
from weaviate.collections.classes.filters import FilterReturn

from forebay.store.contract import Hit

__all__ = ["Place", "ask_places", "ask_texts", "ids_around", "with_texts"]

# What a server gives at most, unless it is told otherwise (QUERY_MAXIMUM_RESULTS).
_MAX_CHUNKS = 10_000

Place = tuple[str, int, str]
"""Document of a chunk, where it starts in it, and the chunk's id."""


async def ask_places(
    collection: CollectionAsync[Any, Any], doc_ids: Sequence[str], filters: FilterReturn | None
) -> list[Place]:
    """Find the chunks of documents, inside a filter; of very long ones not all."""
    own = Filter.by_property("doc_id").contains_any(list(doc_ids))
    answer = await collection.query.fetch_objects(
        filters=own if filters is None else Filter.all_of([own, filters]),
        limit=_MAX_CHUNKS,
        return_properties=["doc_id", "start_char"],
    )
    return [(item.properties["doc_id"], int(item.properties["start_char"]), str(item.uuid)) for item in answer.objects]


async def ask_texts(collection: CollectionAsync[Any, Any], chunk_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Read chunks; gives their ids and texts."""
    answer = await collection.query.fetch_objects_by_ids(
        list(chunk_ids), limit=len(chunk_ids), return_properties=["text"]
    )
    return [(str(item.uuid), item.properties["text"]) for item in answer.objects]


def ids_around(hits: Sequence[Hit], places: Sequence[Place], count: int) -> dict[str, tuple[list[str], list[str]]]:
    """Give the ids of the chunks before and after each hit, in the document's order, by the hit's id."""
    order: dict[str, list[str]] = defaultdict(list)
    for doc_id, _, chunk_id in sorted(places):
        order[doc_id].append(chunk_id)
    around: dict[str, tuple[list[str], list[str]]] = {}
    for hit in hits:
        ids = order[hit.doc_id]
        # One of the chunks beyond what the server gives has no neighbours.
        at = ids.index(hit.chunk_id) if hit.chunk_id in ids else len(ids) + count
        around[hit.chunk_id] = ids[max(0, at - count) : at], ids[at + 1 : at + 1 + count]
    return around


def with_texts(
    hits: Sequence[Hit], around: Mapping[str, tuple[list[str], list[str]]], texts: Mapping[str, str]
) -> list[Hit]:
    """Put the texts to the hits; a chunk that went away in between is left out."""
    return [
        replace(
            hit,
            before=[texts[one] for one in around[hit.chunk_id][0] if one in texts],
            after=[texts[one] for one in around[hit.chunk_id][1] if one in texts],
        )
        for hit in hits
    ]
