"""The Lance tables of a data folder, and which of their versions is published.

Jobs write new versions; only a version that has passed its checks gets the tag `published`, and every reader
outside the writing job reads that one. A job first undoes whatever an earlier, failed or killed, run left after it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import lance
import pyarrow as pa

from forebay.chunks import CHUNKS
from forebay.documents import DOCUMENTS, QUARANTINE
from forebay.embedding.spec import EmbeddingSpec

__all__ = [
    "PUBLISHED",
    "Table",
    "chunk_table",
    "document_table",
    "embedding_schema",
    "embedding_table",
    "quarantine_table",
]

PUBLISHED = "published"
_KEYS_PER_CONDITION = 2000


class Table:
    """One Lance dataset with a published version."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema

    @property
    def uri(self) -> str:
        """Where the dataset lies."""
        return str(self.path)

    def prepare(self) -> None:
        """Make the newest version equal to the published one, creating an empty table where there is none.

        The one writer of a table calls this before it writes.
        """
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
        """Make an earlier version the newest and published one."""
        if version is not None:
            lance.dataset(self.uri, version=version).restore()
            self.publish()

    def published_version(self) -> int | None:
        """Give the number of the published version; None before the first."""
        return self.tag(PUBLISHED)

    def published(self) -> lance.LanceDataset | None:
        """Open the published version; None before the first."""
        version = self.published_version()
        return None if version is None else lance.dataset(self.uri, version=version)

    def clear_tag(self, name: str) -> None:
        """Remove a tag, where there is one."""
        if self.tag(name) is not None:
            lance.dataset(self.uri).tags.delete(name)

    def newest(self) -> lance.LanceDataset:
        """Open the newest version, published or not; for the job that writes the table."""
        return lance.dataset(self.uri)

    def publish(self) -> None:
        """Publish the newest version."""
        self.set_tag(PUBLISHED, lance.dataset(self.uri).version)

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

    def held_keys(self, column: str, keys: Iterable[str]) -> set[str]:
        """Tell which of the keys the string column of the published version holds."""
        dataset, held = self.published(), set[str]()
        if dataset is None:
            return held
        for condition in _conditions(column, keys):
            held |= set(dataset.to_table(columns=[column], filter=condition)[column].to_pylist())
        return held

    def delete_keys(self, column: str, keys: Iterable[str]) -> None:
        """Delete the rows whose string column holds one of the keys."""
        for condition in _conditions(column, keys):
            lance.dataset(self.uri).delete(condition)

    def count(self, where: str | None = None) -> int:
        """Count rows of the newest version."""
        return lance.dataset(self.uri).count_rows(where)

    def published_rows(self, where: str | None = None) -> int:
        """Count rows of the published version; 0 before the first."""
        dataset = self.published()
        return 0 if dataset is None else dataset.count_rows(where)

    def size_bytes(self) -> int:
        """Add up the files of all versions on disk."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())


def _conditions(column: str, keys: Iterable[str]) -> Iterator[str]:
    """Write SQL conditions of bounded length that together hold for the rows with one of the keys."""
    wanted = sorted(set(keys))
    for start in range(0, len(wanted), _KEYS_PER_CONDITION):
        part = wanted[start : start + _KEYS_PER_CONDITION]
        quoted = ", ".join("'" + key.replace("'", "''") + "'" for key in part)
        yield f"{column} IN ({quoted})"


def document_table(tables: Path) -> Table:
    """Give the table of documents."""
    return Table(tables / "documents.lance", DOCUMENTS)


def quarantine_table(tables: Path) -> Table:
    """Give the table of rejected documents."""
    return Table(tables / "quarantine.lance", QUARANTINE)


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
