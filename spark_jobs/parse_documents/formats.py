"""Turn one unit of reading into documents and rejects; nothing here raises for bad input."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from forebay.documents import RejectionReason
from forebay.sources import ReadUnit
from spark_jobs.parse_documents.encodings import Undecodable, decode
from spark_jobs.parse_documents.lines import read_lines

__all__ = ["Parsed", "Rejected", "parse_unit"]

_MAX_ID_CHARS = 512
_ID_FIELDS = ("_id", "id", "doc_id")


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
class Rejected:
    """A document, or the part of a file that should have been one, that can't be accepted."""

    uri: str
    line: int
    reason: RejectionReason
    detail: str
    doc_id: str | None = None


def parse_unit(unit: ReadUnit, max_bytes: int) -> Iterator[Parsed | Rejected]:
    """Read a unit.

    Args:
        unit: What to read.
        max_bytes: Largest file or JSONL line that is parsed.

    Yields:
        One item per document that the unit should hold.
    """
    try:
        if unit.format == "jsonl":
            yield from _jsonl(unit, max_bytes)
        else:
            yield _file(unit, max_bytes)
    except OSError as exc:
        yield Rejected(unit.uri, 0, RejectionReason.UNREADABLE, exc.strerror or type(exc).__name__)


def _file(unit: ReadUnit, max_bytes: int) -> Parsed | Rejected:
    if unit.format == "unsupported":
        suffix = PurePosixPath(unit.uri).suffix or "no ending"
        return Rejected(unit.uri, 0, RejectionReason.UNSUPPORTED_FORMAT, f"files with {suffix} are not read")
    with open(unit.path, "rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        return Rejected(unit.uri, 0, RejectionReason.TOO_LARGE, f"larger than {max_bytes} bytes")
    text = decode(data)
    if isinstance(text, Undecodable):
        return Rejected(unit.uri, 0, text.reason, text.detail)
    title, body, format_name = _TEXT_OF[unit.format](unit, text)
    if body is None:
        return Rejected(unit.uri, 0, RejectionReason.PARSER_ERROR, "no text could be extracted")
    if not body.strip():
        return Rejected(unit.uri, 0, RejectionReason.BLANK_TEXT, "no text but white space", unit.uri)
    return Parsed(unit.uri, 0, unit.uri, title, body, format_name, "{}")


def _plain(unit: ReadUnit, text: str) -> tuple[str, str, str]:
    return PurePosixPath(unit.uri).stem, text, "text"


def _markdown(unit: ReadUnit, text: str) -> tuple[str, str, str]:
    first = next((line for line in text.splitlines() if line.startswith("# ")), "")
    return first.removeprefix("# ").strip() or PurePosixPath(unit.uri).stem, text, "markdown"


def _html(unit: ReadUnit, text: str) -> tuple[str, str | None, str]:
    import trafilatura

    if not text.strip():
        return "", "", "markdown"
    body = trafilatura.extract(text, output_format="markdown", include_tables=True, favor_recall=True)
    metadata = trafilatura.extract_metadata(text)
    return metadata.title or PurePosixPath(unit.uri).stem, body, "markdown"


_TEXT_OF = {"text": _plain, "markdown": _markdown, "html": _html}


def _jsonl(unit: ReadUnit, max_bytes: int) -> Iterator[Parsed | Rejected]:
    for number, offset, data in read_lines(unit.path, unit.start, unit.end, max_bytes):
        # A line's number is known only when the file was read from its first byte; its offset always is.
        place = f"{unit.uri}#L{number}" if unit.start == 0 else f"{unit.uri}#byte={offset}"
        if data is None:
            yield Rejected(place, offset, RejectionReason.TOO_LARGE, f"a line longer than {max_bytes} bytes")
        elif data.strip():
            yield _row(unit, place, offset, data)


def _row(unit: ReadUnit, place: str, offset: int, data: bytes) -> Parsed | Rejected:
    text = decode(data)
    if isinstance(text, Undecodable):
        return Rejected(place, offset, text.reason, text.detail)
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as exc:
        return Rejected(place, offset, RejectionReason.INVALID_JSON, f"the line is not JSON: {exc}"[:300])
    if not isinstance(row, dict):
        return Rejected(place, offset, RejectionReason.INVALID_JSON, "the line is not a JSON object")
    doc_id = next((row[name] for name in _ID_FIELDS if row.get(name) is not None), place)
    if not isinstance(doc_id, str | int) or isinstance(doc_id, bool) or not 0 < len(str(doc_id)) <= _MAX_ID_CHARS:
        detail = f"the id must be a string or a number of at most {_MAX_ID_CHARS} characters"
        return Rejected(place, offset, RejectionReason.INVALID_ID, detail)
    return _checked_row(unit, place, offset, row, _without_surrogates(str(doc_id)))


def _checked_row(unit: ReadUnit, place: str, offset: int, row: dict[str, Any], doc_id: str) -> Parsed | Rejected:
    body = row.get("text")
    if not isinstance(body, str):
        detail = "the row has no field 'text' that is a string"
        return Rejected(place, offset, RejectionReason.MISSING_TEXT, detail, doc_id)
    body = _without_surrogates(body)
    if not body.strip():
        return Rejected(place, offset, RejectionReason.BLANK_TEXT, "no text but white space", doc_id)
    title = row.get("title")
    title = _without_surrogates(title) if isinstance(title, str) else ""
    nested = row.get("metadata")
    fields = nested if isinstance(nested, dict) else {}
    metadata = {key: value for key, value in fields.items() if _is_filterable(value)}
    dumped = _without_surrogates(json.dumps(metadata, sort_keys=True, ensure_ascii=False))
    return Parsed(unit.uri, offset, doc_id, title.strip(), body, "text", dumped)


def _is_filterable(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**63)


def _without_surrogates(text: str) -> str:
    # JSON may spell lone surrogates, which no encoder accepts; they become U+FFFD.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
