"""Loading one partition into a Weaviate collection so that it holds these chunks and no others, however often tried."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from weaviate.classes.query import Filter
from weaviate.collections import Collection
from weaviate.exceptions import WeaviateBaseError

from forebay.errors import IndexBuildError
from forebay.settings import IndexSettings, WeaviateSettings
from forebay.store.stems import ChunkStems
from forebay.store.weaviate_counts import count_chunks
from forebay.store.weaviate_schema import LOAD, PARTITION, chunk_properties
from forebay.store.weaviate_stall import ended_if_stalled
from forebay.store.weaviate_tenants import Tenancy, tenant_of

__all__ = ["PartitionLoad"]

# What is sent before it is compared with what was confirmed; the client remembers the last 100,000 answers only.
_BLOCK_ROWS = 5_000
_NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Object:
    properties: dict[str, Any]
    vector: list[float]
    tenant: str | None


class PartitionLoad:
    """One partition's way into a collection.

    Every chunk is written by its id and carries the partition's content, so that a load that was killed anywhere and
    starts again writes the same objects, and what an earlier content left behind is known by it.
    """

    def __init__(
        self,
        tenancy: Tenancy,
        number: int,
        content: str,
        *,
        dim: int,
        index: IndexSettings,
        settings: WeaviateSettings,
    ) -> None:
        self._tenancy = tenancy
        self._number = number
        self._content = content
        self._dim = dim
        self._reader = ChunkStems(index)
        self._settings = settings

    def run(self, batches: Iterable[pa.RecordBatch]) -> int:
        """Write the chunks, delete what else the partition held, and count.

        Args:
            batches: Chunk rows with a `vector` column.

        Returns:
            Chunks that the partition holds now.

        Raises:
            IndexBuildError: a row has no proper vector, an id comes twice, or the cluster doesn't hold what was sent.
        """
        sent: set[str] = set()
        for batch in batches:
            for start in range(0, batch.num_rows, _BLOCK_ROWS):
                block = self._block(batch.slice(start, _BLOCK_ROWS), sent)
                self._create_tenants(block)
                self._send(block)
                sent.update(block)
        try:
            # All tenants: a document that had another one before left its chunks there.
            views = self._tenancy.views()
            for view in views:
                self._delete_stale(view)
            held = sum(count_chunks(view, self._number) for view in views)
        except WeaviateBaseError as exc:
            raise IndexBuildError(f"partition {self._number} can't be finished, Weaviate fails: {exc}") from exc
        if held != len(sent):
            raise IndexBuildError(
                f"partition {self._number} holds {held} chunks after {len(sent)} were written; load it again."
            )
        return held

    def _block(self, batch: pa.RecordBatch, sent: set[str]) -> dict[str, _Object]:
        vectors = _unit_vectors(batch.column("vector"), batch.num_rows, self._dim)
        rows = batch.drop_columns(["vector"]).to_pylist()
        block = {
            row["chunk_id"]: _Object(self._properties(row), vector, self._tenant(row))
            for row, vector in zip(rows, vectors, strict=True)
        }
        if len(block) < len(rows) or not sent.isdisjoint(block):
            raise IndexBuildError(f"partition {self._number} has two chunks of one id; the chunk table is damaged.")
        return block

    def _properties(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return chunk_properties(row, self._number, self._content, self._reader)

    def _tenant(self, row: Mapping[str, Any]) -> str | None:
        return tenant_of(json.loads(row["metadata"])) if self._tenancy.has_tenants else None

    def _create_tenants(self, block: Mapping[str, _Object]) -> None:
        try:
            self._tenancy.create({item.tenant for item in block.values() if item.tenant is not None})
        except WeaviateBaseError as exc:
            raise IndexBuildError(f"Weaviate doesn't create the tenants of partition {self._number}: {exc}") from exc

    def _send(self, block: Mapping[str, _Object]) -> None:
        waiting, reason = block, ""
        for attempt in range(self._settings.load_attempts):
            if attempt:
                time.sleep(self._settings.load_pause_s * 2 ** (attempt - 1))
            confirmed, reason = self._stream(waiting)
            waiting = {key: waiting[key] for key in waiting if key not in confirmed}
            if not waiting:
                return
        raise IndexBuildError(
            f"Weaviate doesn't confirm {len(waiting)} chunks of partition {self._number} in "
            f"{self._settings.load_attempts} attempts, {next(iter(waiting))!r} among them ({reason}); load it again."
        )

    def _stream(self, objects: Mapping[str, _Object]) -> tuple[set[str], str]:
        """Send objects by a stream of their own; gives the ids that are confirmed, and why others aren't.

        A server that closes the stream early ends it without an error: only the confirmed ids tell what is stored.
        """
        reason = "the stream ended early"
        try:
            with (
                self._tenancy.stream() as add,
                ended_if_stalled(self._settings.load_stall_s, self._tenancy.disconnect) as get_on,
            ):
                for key, item in objects.items():
                    add(properties=item.properties, uuid=key, vector=item.vector, tenant=item.tenant)
                    get_on()
        # Where the client's own thread has died, it raises whatever that thread died of, or a bare Exception.
        except Exception as exc:
            reason = str(exc)
        stored, failed = self._tenancy.sent()
        confirmed = {str(key) for key in stored.uuids.values()}
        return confirmed, failed[0].message if failed else reason

    def _delete_stale(self, view: Collection[Any, Any]) -> None:
        """Delete what another content of the partition wrote; a server deletes a limited number at a time."""
        stale = Filter.by_property(PARTITION).equal(self._number) & Filter.by_property(LOAD).not_equal(self._content)
        while True:
            deleted = view.data.delete_many(where=stale)
            if not deleted.matches:
                return
            if not deleted.successful:
                raise IndexBuildError(
                    f"Weaviate deletes none of {deleted.matches} stale chunks of partition {self._number}; load it "
                    "again when all nodes are up."
                )


def _unit_vectors(column: Any, n_rows: int, dim: int) -> list[list[float]]:
    vectors = np.asarray(column.flatten(), dtype=np.float32)
    if column.null_count or vectors.size != n_rows * dim:
        raise IndexBuildError(f"chunks without a vector of dimension {dim} can't be indexed; embed them first.")
    vectors = vectors.reshape(n_rows, dim)
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=_NORM_TOLERANCE):
        raise IndexBuildError("a vector is not a finite unit vector; the embeddings table is damaged.")
    return vectors.tolist()
