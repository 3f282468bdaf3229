"""What a collection in Weaviate holds, as the cluster counts it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from weaviate.classes.query import Filter
from weaviate.collections import Collection

from forebay.store.contract import ShardRef
from forebay.store.weaviate_schema import LOAD, PARTITION

__all__ = ["count_chunks", "count_partitions"]

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
