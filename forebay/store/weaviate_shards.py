"""The partitions of one release's collection, found and loaded as if they were shards."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from forebay.settings import IndexSettings, WeaviateSettings
from forebay.store.contract import ShardBase, ShardRef
from forebay.store.weaviate_store import connected_store

__all__ = ["WeaviateShards"]


@dataclass(frozen=True)
class WeaviateShards:
    """Connects for every shard, and can be pickled: a client belongs to the process that connected.

    A collection starts empty, so every release is loaded as a whole; what an earlier attempt loaded is kept.
    """

    release_id: str
    """The release, whose id follows from the contents of all of its shards."""
    chunks: Mapping[int, int]
    """How many chunks each shard should hold."""
    dim: int
    """Length of the vectors."""
    index: IndexSettings
    """What the collection is made with."""
    settings: WeaviateSettings
    """How the cluster is reached."""

    def find_shards(self, contents: Mapping[int, str]) -> dict[int, ShardRef]:
        """Look for loaded shards with these contents; makes the collection where there is none.

        Raises:
            ConfigurationError: the settings of the cluster or of the index are wrong.
            IndexBuildError: the cluster refuses to make the collection.
            ReleaseError: the cluster doesn't answer.
        """
        with connected_store(self.settings) as store:
            store.prepare(self.release_id, self.index)
            return {
                number: _ref(number, content, self.chunks[number])
                for number, content in contents.items()
                if store.holds_partition(self.release_id, number, content, self.chunks[number])
            }

    def build_shard(
        self, number: int, content: str, batches: Iterable[pa.RecordBatch], base: ShardBase | None = None
    ) -> ShardRef:
        """Load a shard; see `ShardBuilder.build_shard`. There is never a base.

        Raises:
            ConfigurationError: the settings of the cluster are wrong.
            IndexBuildError: the rows can't be indexed, or the cluster doesn't hold all of them.
            ReleaseError: the cluster doesn't answer.
        """
        with connected_store(self.settings) as store:
            held = store.load_partition(self.release_id, number, content, batches, dim=self.dim, index=self.index)
        return _ref(number, content, held)

    def wait_until_indexed(self) -> None:
        """Wait for the vector index of what is loaded, so that quality is measured on all of it.

        Raises:
            ConfigurationError: the settings of the cluster are wrong.
            ReleaseError: it isn't there in time, or the cluster doesn't answer.
        """
        with connected_store(self.settings) as store:
            store.wait_until_indexed(self.release_id)


def _ref(number: int, content: str, chunks: int) -> ShardRef:
    return ShardRef(number=number, content=content, path="", chunks=chunks, bytes=0, checksum="")
