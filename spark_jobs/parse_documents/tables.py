"""The tables that the parse job writes, and publishing them in the order in which readers may see them."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from forebay.documents import content_hash
from forebay.settings import DuplicateSettings
from forebay.tables import Table, comparison_table, document_table, duplicate_table, quarantine_table, unit_table

__all__ = ["DocumentTables"]


@dataclass(frozen=True)
class DocumentTables:
    """The tables of documents, duplicates and what they were found by, rejects and units."""

    documents: Table
    comparisons: Table
    duplicates: Table
    quarantine: Table
    units: Table

    @classmethod
    def prepare(cls, folder: Path, run_id: str) -> "DocumentTables":
        """Open them for the one run that writes them; what an earlier run left unpublished is undone."""
        tables = cls(
            document_table(folder),
            comparison_table(folder),
            duplicate_table(folder),
            quarantine_table(folder),
            unit_table(folder),
        )
        for table in (*tables._written_together, tables.quarantine, tables.units):
            table.prepare(run_id)
        return tables

    def restore(self) -> None:
        """Undo what this run wrote, except the rejects."""
        for table in self._written_together:
            table.prepare()

    def begin(self) -> None:
        """Forget what the duplicates belong to: a run that changes them may be killed."""
        self.documents.clear_tags(_DEDUPLICATED)

    def publish(self, settings: DuplicateSettings) -> None:
        """Publish documents, comparisons and duplicates."""
        for table in self._written_together:
            table.publish()
        # Versions with a tag are kept, and with them the texts of documents that are gone.
        self.documents.clear_tags("compared-")
        version = self.documents.newest().version
        self.documents.set_tag(_tag(settings), version)
        if settings.scope != "off":
            self.documents.set_tag(_COMPARED, version)

    @property
    def _written_together(self) -> tuple[Table, ...]:
        return self.documents, self.comparisons, self.duplicates

    def are_compared(self) -> bool:
        """Say whether the published comparisons belong to the published documents."""
        version = self.documents.published_version()
        return version is not None and self.documents.tag(_COMPARED) == version

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


_DEDUPLICATED = "deduplicated-"
# Another one means that comparisons of before are of no use: shingles, or their similarity, are others.
_COMPARED = "compared-1"


def _tag(settings: DuplicateSettings) -> str:
    return f"{_DEDUPLICATED}{content_hash(settings.model_dump_json())[:12]}"
