"""Rows: JSON objects with `text`, and perhaps `id`, `title` and `metadata`."""

import json
from dataclasses import dataclass

from forebay.documents import RejectionReason
from forebay.sources.contract import Record
from spark_jobs.parse_documents.identity import MAX_ID_CHARS, NO_WORDS, has_words, id_of_place
from spark_jobs.parse_documents.readers.contract import UnparsableError
from spark_jobs.parse_documents.readers.encodings import decode
from spark_jobs.parse_documents.readers.fields import fields_as_json, filterable_fields

__all__ = ["Row", "parse_row"]

_ID_FIELDS = ("_id", "id", "doc_id")


@dataclass(frozen=True)
class Row:
    """What a row says of its document; `metadata` is a JSON object of filterable scalars."""

    doc_id: str
    title: str
    text: str
    metadata: str


def parse_row(record: Record) -> Row:
    """Read a row; its id is the source's, else its own, else its place.

    Raises:
        UnparsableError: it is no JSON object, or lacks what a document needs.
    """
    try:
        row = json.loads(decode(record.data))
    except (ValueError, RecursionError) as exc:
        raise UnparsableError(RejectionReason.INVALID_JSON, f"the row is not JSON: {exc}"[:300]) from exc
    if not isinstance(row, dict):
        raise UnparsableError(RejectionReason.INVALID_JSON, "the row is not a JSON object")
    own = next((row[name] for name in _ID_FIELDS if row.get(name) is not None), None)
    doc_id = record.doc_id or (id_of_place(record.uri) if own is None else own)
    if not isinstance(doc_id, str | int) or isinstance(doc_id, bool) or not 0 < len(str(doc_id)) <= MAX_ID_CHARS:
        detail = f"the id must be a string or a number of at most {MAX_ID_CHARS} characters"
        raise UnparsableError(RejectionReason.INVALID_ID, detail)
    doc_id = _without_surrogates(str(doc_id))
    text, title, nested = row.get("text"), row.get("title"), row.get("metadata")
    if not isinstance(text, str):
        raise UnparsableError(RejectionReason.MISSING_TEXT, "the row has no field 'text' that is a string", doc_id)
    text = _without_surrogates(text)
    if not has_words(text):
        raise UnparsableError(RejectionReason.BLANK_TEXT, NO_WORDS, doc_id)
    metadata = filterable_fields({**record.metadata, **(nested if isinstance(nested, dict) else {})}, doc_id)
    return Row(
        doc_id=doc_id,
        title=_without_surrogates(title).strip() if isinstance(title, str) else "",
        text=text,
        metadata=_without_surrogates(fields_as_json(metadata, doc_id)),
    )


def _without_surrogates(text: str) -> str:
    # JSON may spell lone surrogates, which no encoder accepts; they become U+FFFD.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
