"""The Lance tables of a data folder, and which of their versions is published.

Jobs write new versions; only a version that has passed its checks gets the tag `published`, and every reader
outside the writing job reads that one. A job first undoes whatever an earlier, failed or killed, run left after it.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lance.fragment import FragmentMetadata, LanceFragment

from forebay.chunks import CHUNKS
from forebay.documents import COMPARISONS, DOCUMENTS, DUPLICATES, QUARANTINE, UNITS, partition_key
from forebay.embedding.spec import EmbeddingSpec

__all__ = [
    "OFFSET_BITS",
    "PUBLISHED",
    "Table",
    "chunk_table",
    "comparison_table",
    "document_table",
    "duplicate_table",
    "embedding_schema",
    "embedding_table",
    "fragment_bytes",
    "quarantine_table",
    "rows_per_batch",
    "sql_text",
    "unit_table",
]

PUBLISHED = "published"
OFFSET_BITS = 32
"""Lowest bits of a row's address, its offset in its fragment; the rest is the fragment. Source: Lance, `RowAddress`."""

# More are looked for in all of a column, in one pass.
_KEYS_IN_CONDITION = 5000
_SEARCHED_ROWS = 2**17
_BATCH_ROWS = 1024
# What Lance is told of bytes (`batch_size_bytes`) cuts only what it has decoded.
_BATCH_BYTES = 4 * 2**20

Keys = Iterable[str] | pa.ChunkedArray
"""Strings that are looked for in a column."""


class Table:
    """One Lance dataset with a published version."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self._run_id = ""

    @property
    def uri(self) -> str:
        """Where the dataset lies."""
        return str(self.path)

    @property
    def commit_properties(self) -> dict[str, str]:
        """What every commit of the writing run carries."""
        return {"forebay.run_id": self._run_id}

    def prepare(self, run_id: str = "") -> None:
        """Make the newest version equal to the published one, creating an empty table where there is none.

        The one writer of a table calls this before it writes, with the id of its run.
        """
        self._run_id = run_id or self._run_id
        if not self.path.exists():
            lance.write_dataset(pa.Table.from_batches([], self.schema), self.uri)
        dataset = lance.dataset(self.uri)
        published = self.published_version()
        if published is None:
            if dataset.count_rows():
                dataset.delete("true")
        elif dataset.version != published:
            self.restore(published)
            return
        else:
            return
        self.publish()

    def restore(self, version: int | None) -> None:
        """Make an earlier version the newest and published one; its tags move to it, but for `kept-` ones."""
        if version is not None:
            lance.dataset(self.uri, version=version).restore()
            self._move_tags(version)
            self.publish()

    def published_version(self) -> int | None:
        """Give the number of the published version; None before the first."""
        return self.tag(PUBLISHED)

    def holds_version(self, version: int) -> bool:
        """Say whether a version can still be read."""
        return any(entry["version"] == version for entry in lance.dataset(self.uri).versions())

    def published(self) -> lance.LanceDataset | None:
        """Open the published version; None before the first."""
        version = self.published_version()
        return None if version is None else lance.dataset(self.uri, version=version)

    def clear_tags(self, prefix: str) -> None:
        """Remove the tags that begin with a prefix."""
        if self.path.exists():
            tags = lance.dataset(self.uri).tags
            for name in [name for name in tags.list() if name.startswith(prefix)]:
                tags.delete(name)

    def newest(self) -> lance.LanceDataset:
        """Open the newest version, published or not; for the job that writes the table."""
        return lance.dataset(self.uri)

    def publish(self) -> None:
        """Publish the newest version."""
        self.set_tag(PUBLISHED, lance.dataset(self.uri).version)

    def compact(self, rows_per_fragment: int) -> None:
        """Join small files and drop deleted rows; tags of the published version move to the compacted one."""
        before = self.published_version()
        newest = self.newest()
        batch_rows = rows_per_batch(newest.get_fragments())
        newest.optimize.compact_files(target_rows_per_fragment=rows_per_fragment, batch_size=batch_rows)
        if before is not None:
            self._move_tags(before)

    def _move_tags(self, before: int) -> None:
        """Let what is said of a version be said of the newest one, which holds the same rows."""
        newest = self.newest().version
        for name, version in self.tags().items():
            if newest != version == before and not name.startswith("kept-"):
                self.set_tag(name, newest)

    def tags(self) -> dict[str, int]:
        """Give the tags and their versions."""
        return {name: int(entry["version"]) for name, entry in lance.dataset(self.uri).tags.list().items()}

    def tag(self, name: str) -> int | None:
        """Give the version that a tag points at; None where there is no such tag."""
        if not self.path.exists():
            return None
        entry = lance.dataset(self.uri).tags.list().get(name)
        return None if entry is None else int(entry["version"])

    def set_tag(self, name: str, version: int) -> None:
        """Point a tag at a version, creating the tag where there is none."""
        tags = lance.dataset(self.uri).tags
        if name in tags.list():
            tags.update(name, version)
        else:
            tags.create(name, version)

    def held_keys(self, column: str, keys: Keys) -> set[str]:
        """Tell which of the keys the string column of the published version holds."""
        dataset = self.published()
        return set() if dataset is None else set(_rows_with_keys(dataset, column, keys)[column].to_pylist())

    def delete_keys(self, column: str, keys: Keys, *, where: str | None = None) -> None:
        """Delete the rows, of those that meet `where`, whose string column holds one of the keys, in one commit."""
        dataset = self.newest()
        rows = _rows_with_keys(dataset, column, keys, where)
        self._delete_rows(dataset, rows["_rowaddr"].to_numpy(), f"{len(rows)} rows by {column}")

    def delete(self, condition: str) -> None:
        """Delete the rows that meet an SQL condition, in one commit; no rows, no commit."""
        dataset = self.newest()
        # Looked for in all fragments at once, for every change leaves some more of them.
        found = dataset.scanner(columns=[], filter=condition, with_row_address=True).to_table()
        self._delete_rows(dataset, found["_rowaddr"].to_numpy(), condition)

    def _delete_rows(self, dataset: lance.LanceDataset, addresses: np.ndarray, description: str) -> None:
        places, offsets = addresses >> OFFSET_BITS, addresses & (2**OFFSET_BITS - 1)
        updated: list[FragmentMetadata] = []
        emptied: list[int] = []
        for fragment_id in np.unique(places).tolist():
            fragment = dataset.get_fragment(fragment_id)
            assert fragment is not None
            left = fragment.delete_rows(offsets[places == fragment_id].tolist())
            if left is None:
                emptied.append(fragment_id)
            else:
                updated.append(left)
        if updated or emptied:
            self.commit(lance.LanceOperation.Delete(updated, emptied, description), dataset.version)

    def append(self, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Append rows in one commit; a table without rows, no commit."""
        if not isinstance(rows, pa.Table) or rows.num_rows:
            lance.write_dataset(rows, self.uri, mode="append", transaction_properties=self.commit_properties)

    def replace(self, rows: pa.Table) -> None:
        """Put other rows in the place of all, in one commit."""
        lance.write_dataset(rows, self.uri, mode="overwrite", transaction_properties=self.commit_properties)

    def commit(self, operation: "lance.LanceOperation.BaseOperation", read_version: int) -> None:
        """Commit an operation, with the run's id."""
        transaction = lance.Transaction(read_version, operation, transaction_properties=self.commit_properties)
        lance.LanceDataset.commit(self.uri, transaction)

    def count(self, where: str | None = None) -> int:
        """Count rows of the newest version."""
        return lance.dataset(self.uri).count_rows(where)

    def published_rows(self, where: str | None = None) -> int:
        """Count rows of the published version; 0 before the first."""
        dataset = self.published()
        return 0 if dataset is None else dataset.count_rows(where)

    def rows_per_shard(self, version: int | None = None) -> dict[str, int]:
        """Count the rows of a version, or of the newest, by Dagster partition, from its column `shard`."""
        counts = Counter[int]()
        for batch in lance.dataset(self.uri, version=version).scanner(columns=["shard"]).to_batches():
            counts.update(dict(enumerate(np.bincount(batch.column("shard")).tolist())))
        return {partition_key(number): count for number, count in sorted(counts.items())}

    def published_where(self, where: str) -> list[dict[str, Any]]:
        """Read the rows of the published version that meet an SQL condition; none before the first."""
        dataset = self.published()
        return [] if dataset is None else dataset.to_table(filter=where).to_pylist()

    def size_bytes(self) -> int:
        """Add up the files of all versions on disk."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())


def _rows_with_keys(dataset: lance.LanceDataset, column: str, keys: Keys, where: str | None = None) -> pa.Table:
    """Give `column` and `_rowaddr` of the rows, of those that meet `where`, that hold one of the keys."""
    # Large: millions of keys may have more than 2 GiB.
    wanted: pa.ChunkedArray
    wanted = keys if isinstance(keys, pa.ChunkedArray) else pa.chunked_array([list(keys)], pa.large_string())
    if len(wanted) <= _KEYS_IN_CONDITION:
        named = f"{column} IN ({', '.join(map(sql_text, wanted.to_pylist()))})" if len(wanted) else "false"
        condition = f"({where}) AND {named}" if where else named
        return dataset.scanner(columns=[column], filter=condition, with_row_address=True).to_table()
    # The keys are hashed for every batch, which is then at least as much work as they are.
    batches = dataset.scanner(
        columns=[column], filter=where, with_row_address=True, batch_size=max(len(wanted), _SEARCHED_ROWS)
    ).to_batches()
    among = pc.SetLookupOptions(value_set=wanted)
    found: list[pa.RecordBatch] = []
    for batch in batches:
        found.append(batch.filter(pc.call_function("is_in", [batch.column(column).cast(wanted.type)], among)))
    return pa.Table.from_batches(found, pa.schema([dataset.schema.field(column), ("_rowaddr", pa.uint64())]))


def fragment_bytes(fragment: LanceFragment) -> int:
    """Give the size of a fragment's files."""
    return sum(file.file_size_bytes or 0 for file in fragment.metadata.files)


def rows_per_batch(fragments: Iterable[LanceFragment]) -> int:
    """Say how many rows to read at a time: 1,024, or those that 4 MiB of files hold where rows are large."""
    n_rows = n_bytes = 0
    for fragment in fragments:
        n_rows += fragment.physical_rows
        n_bytes += fragment_bytes(fragment)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * n_rows // max(1, n_bytes)))


def sql_text(text: str) -> str:
    """Write a string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def document_table(tables: Path) -> Table:
    """Give the table of documents."""
    return Table(tables / "documents.lance", DOCUMENTS)


def quarantine_table(tables: Path) -> Table:
    """Give the table of rejected documents."""
    return Table(tables / "quarantine.lance", QUARANTINE)


def unit_table(tables: Path) -> Table:
    """Give the table of the units that were read."""
    return Table(tables / "units.lance", UNITS)


def duplicate_table(tables: Path) -> Table:
    """Give the table of duplicate documents."""
    return Table(tables / "duplicates.lance", DUPLICATES)


def comparison_table(tables: Path) -> Table:
    """Give the table of documents that were compared because they may be duplicates."""
    return Table(tables / "comparisons.lance", COMPARISONS)


def chunk_table(tables: Path) -> Table:
    """Give the table of chunks."""
    return Table(tables / "chunks.lance", CHUNKS)


def embedding_schema(dim: int) -> pa.Schema:
    """Describe an embeddings table: one row per distinct text, whatever chunks have that text."""
    return pa.schema(
        [
            pa.field("text_hash", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
            pa.field("run_id", pa.string(), nullable=False),
        ]
    )


def embedding_table(tables: Path, spec: EmbeddingSpec) -> Table:
    """Give the table of the vectors of one `EmbeddingSpec`."""
    return Table(tables / f"embeddings-{spec.fingerprint}.lance", embedding_schema(spec.dim))
