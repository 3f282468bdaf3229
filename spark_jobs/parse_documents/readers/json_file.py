"""JSON files: a document with a field `text`, or any object as readable lines."""

import json
from collections.abc import Iterator
from typing import Any

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError
from spark_jobs.parse_documents.readers.encodings import decode
from spark_jobs.parse_documents.readers.fields import filterable_fields
from spark_jobs.parse_documents.readers.joining import join_bounded
from spark_jobs.parse_documents.readers.magic import is_binary, wrong_format

__all__ = ["read_json"]


def read_json(data: bytes) -> Extracted:
    """Read the text of an object that has `text`, and perhaps `title` and `metadata`; else a line per value.

    Raises:
        UnparsableError: it is not JSON, or nobody can tell who may find it.
    """
    if is_binary(data):
        raise wrong_format(data, "a JSON file")
    try:
        value = json.loads(decode(data))
    except (ValueError, RecursionError) as exc:
        raise UnparsableError(RejectionReason.INVALID_JSON, f"the file is not JSON: {exc}"[:300]) from exc
    if not isinstance(value, dict):
        return Extracted(join_bounded(_lines("", value), "\n"), "text")
    title = value.get("title")
    title = title if isinstance(title, str) else ""
    metadata = filterable_fields(value.get("metadata"))
    text = value.get("text")
    if isinstance(text, str):
        return Extracted(text, "text", title, metadata)
    return Extracted(join_bounded(_lines("", value), "\n"), "text", title, metadata)


def _lines(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, nested in value.items():
            yield from _lines(f"{path}.{key}" if path else key, nested)
    elif isinstance(value, list):
        for number, nested in enumerate(value, 1):
            yield from _lines(f"{path}[{number}]", nested)
    elif isinstance(value, bool):
        yield _line(path, "true" if value else "false")
    elif value is not None and str(value).strip():
        yield _line(path, str(value).strip())


def _line(path: str, value: str) -> str:
    return f"{path}: {value}" if path else value
