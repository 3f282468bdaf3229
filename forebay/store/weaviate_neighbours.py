"""The chunks around a hit in its document, as a Weaviate collection holds them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from weaviate.classes.query import Filter
from weaviate.collections import CollectionAsync
from weaviate.collections.classes.filters import FilterReturn

from forebay.store.contract import SectionPart
from forebay.store.neighbours import Place
from forebay.store.weaviate_channels import Question

__all__ = ["ask_chunks", "find_places"]

# What a server gives at most, unless it is told otherwise (QUERY_MAXIMUM_RESULTS).
_MAX_CHUNKS = 10_000


def find_places(
    doc_ids: Sequence[str],
    filters: FilterReturn | None,
    ask: Callable[[Sequence[Question[list[Place]]]], list[list[list[Place]]]],
) -> list[Place]:
    """Find the chunks of documents, inside a filter; of a document, all of them or none.

    None of one that may have more than a server lists: what it leaves out can't be told, and those on either side of
    that would pass for neighbours.

    Args:
        doc_ids: The documents.
        filters: What the chunks are in.
        ask: Puts each question to every tenant that may hold some; gives the answers to each.
    """

    def listed(groups: Sequence[Sequence[str]]) -> list[list[list[Place]]]:
        return ask([partial(_ask_places, doc_ids=group, filters=filters) for group in groups])

    # Together they rarely have more chunks than an answer holds, and a question for each would keep other searches
    # waiting.
    answers = listed([doc_ids])
    if len(doc_ids) > 1 and not _are_whole(answers[0]):
        answers = listed([[doc_id] for doc_id in doc_ids])
    return [place for of_one in answers if _are_whole(of_one) for places in of_one for place in places]


def _are_whole(answers: Sequence[Sequence[Place]]) -> bool:
    """Say whether no tenant can hold more than it gave."""
    return all(len(places) < _MAX_CHUNKS for places in answers)


async def _ask_places(
    collection: CollectionAsync[Any, Any], doc_ids: Sequence[str], filters: FilterReturn | None
) -> list[Place]:
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
