"""Turn one unit of a source into documents and rejects; nothing here raises for bad input."""

from collections.abc import Iterator
from dataclasses import dataclass

from forebay.documents import RejectionReason
from forebay.sources.contract import ReadUnit, Record, Rejected, Source, UnreadableError
from spark_jobs.parse_documents.identity import NO_WORDS, has_words, id_of_place
from spark_jobs.parse_documents.readers.contract import UnparsableError
from spark_jobs.parse_documents.readers.fields import fields_as_json
from spark_jobs.parse_documents.readers.registry import read_document
from spark_jobs.parse_documents.rows import parse_row

__all__ = ["Deleted", "Parsed", "parse_unit"]


@dataclass(frozen=True)
class Parsed:
    """A document as it was read."""

    uri: str
    line: int
    doc_id: str
    title: str
    text: str
    format: str
    metadata: str


@dataclass(frozen=True)
class Deleted:
    """A document that the source says is gone."""

    uri: str
    line: int
    doc_id: str


def parse_unit(
    source: Source, unit: ReadUnit, max_bytes: int, *, parser_timeout_s: float = 30.0
) -> Iterator[Parsed | Deleted | Rejected]:
    """Read and parse a unit.

    Args:
        source: Where it lies.
        unit: What to read.
        max_bytes: Largest document that is parsed.
        parser_timeout_s: Longest time that the parser of one file may take.

    Yields:
        One item per document that the unit should hold.
    """
    try:
        for record in source.read(unit, max_bytes):
            yield record if isinstance(record, Rejected) else _parse(unit, record, parser_timeout_s)
    except UnreadableError as exc:
        yield Rejected(unit.uri, unit.start, exc.reason, str(exc))
    except OSError as exc:
        yield Rejected(unit.uri, unit.start, RejectionReason.UNREADABLE, exc.strerror or type(exc).__name__)


def _parse(unit: ReadUnit, record: Record, parser_timeout_s: float) -> Parsed | Deleted | Rejected:
    if record.is_deleted:
        return Deleted(unit.uri, record.position, record.doc_id or id_of_place(record.uri))
    try:
        if record.format == "row":
            row = parse_row(record)
            return Parsed(unit.uri, record.position, row.doc_id, row.title, row.text, "text", row.metadata)
        found = read_document(record.data, record.format, timeout_s=parser_timeout_s)
        doc_id = record.doc_id or id_of_place(record.uri)
        if not has_words(found.text):
            raise UnparsableError(RejectionReason.BLANK_TEXT, NO_WORDS, doc_id)
        metadata = fields_as_json({**record.metadata, **found.metadata}, doc_id)
    except UnparsableError as exc:
        return Rejected(record.uri, record.position, exc.reason, exc.detail, exc.doc_id or record.doc_id)
    return Parsed(unit.uri, record.position, doc_id, found.title.strip(), found.text, found.format, metadata)
