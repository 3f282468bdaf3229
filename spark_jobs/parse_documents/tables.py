"""The four tables that the parse job writes, and publishing them in the order in which readers may see them."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from forebay.documents import content_hash
from forebay.settings import DuplicateSettings
from forebay.tables import Table, document_table, duplicate_table, quarantine_table, unit_table

__all__ = ["DocumentTables"]


@dataclass(frozen=True)
class DocumentTables:
    """The tables of documents, duplicates, rejects and units."""

    documents: Table
    duplicates: Table
    quarantine: Table
    units: Table

    @classmethod
    def prepare(cls, folder: Path, run_id: str) -> "DocumentTables":
        """Open them for the one run that writes them; what an earlier run left unpublished is undone."""
        tables = cls(document_table(folder), duplicate_table(folder), quarantine_table(folder), unit_table(folder))
        for table in (tables.documents, tables.duplicates, tables.quarantine, tables.units):
            table.prepare(run_id)
        return tables

    def restore(self) -> None:
        """Undo what this run wrote, except the rejects."""
        self.documents.prepare()
        self.duplicates.prepare()

    def publish(self, settings: DuplicateSettings) -> None:
        """Publish documents and duplicates."""
        self.documents.publish()
        self.duplicates.publish()
        self.documents.set_tag(_tag(settings), self.documents.newest().version)

    def are_deduplicated(self, settings: DuplicateSettings) -> bool:
        """Say whether the published duplicates belong to the published documents and these settings."""
        version = self.documents.published_version()
        return version is not None and self.documents.tag(_tag(settings)) == version

    def replace_duplicates(self, rows: pa.Table) -> None:
        """Write the duplicates of this run, unless they are the same as before."""
        names = ["doc_id", "canonical_id", "kind", "similarity"]
        if self.duplicates.newest().to_table(columns=names).sort_by("doc_id") != rows.select(names):
            self.duplicates.replace(rows)

    def duplicate_counts(self) -> dict[str, int]:
        """Count the documents that are searched for through another one, by kind."""
        return {kind: self.duplicates.count(f"kind = '{kind}'") for kind in ("exact", "near")}


def _tag(settings: DuplicateSettings) -> str:
    return f"deduplicated-{content_hash(settings.model_dump_json())[:12]}"
