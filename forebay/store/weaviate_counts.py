"""What a collection in Weaviate holds, as the cluster counts it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from weaviate.classes.query import Filter
from weaviate.collections import Collection

from forebay.store.contract import ShardRef
from forebay.store.weaviate_schema import LOAD, PARTITION

__all__ = ["count_chunks", "count_partitions", "list_languages"]

# The cluster may be searched meanwhile.
_COUNTED_AT_ONCE = 8


def count_chunks(collection: Collection[Any, Any], number: int | None = None, content: str | None = None) -> int:
    """Count the chunks of a collection or one tenant, of one partition of it, or of one content of this partition."""
    wanted = {PARTITION: number, LOAD: content}
    parts = [Filter.by_property(name).equal(value) for name, value in wanted.items() if value is not None]
    counted = collection.aggregate.over_all(filters=Filter.all_of(parts) if parts else None, total_count=True)
    return counted.total_count or 0


def count_partitions(views: Sequence[Collection[Any, Any]], shards: Sequence[ShardRef]) -> dict[int, int]:
    """Count what partitions hold of the content that they should have; gives the counts by number.

    By a question for each partition and tenant: one that groups by partition would have the server read every object.
    Source: `ScanAllLSM` in weaviate's adapters/repos/db/aggregator/grouper.go.

    Args:
        views: The collection, or each of its tenants.
        shards: The partitions.
    """

    def count(ref: ShardRef) -> int:
        return sum(count_chunks(view, ref.number, ref.content) for view in views)

    with ThreadPoolExecutor(_COUNTED_AT_ONCE, thread_name_prefix="counting") as pool:
        return {ref.number: held for ref, held in zip(shards, pool.map(count, shards), strict=True)}


def list_languages(views: Sequence[Collection[Any, Any]]) -> frozenset[str]:
    """List the languages of the documents: one question for each, and one for each view that has no others.

    One that groups by language would have the server read every object (see `count_partitions`).

    Args:
        views: The collection, or each of its tenants.
    """
    found: set[str] = set()
    for view in views:
        while others := _another_language(view, found):
            found |= others
    return frozenset(found)


def _another_language(view: Collection[Any, Any], known: set[str]) -> set[str]:
    """Give the language of any chunk that has none of the known ones."""
    others = Filter.not_(Filter.by_property("language").contains_any(sorted(known))) if known else None
    answer = view.query.fetch_objects(filters=others, limit=1, return_properties=["language"])
    return {str(item.properties["language"]) for item in answer.objects} - known
