"""A document's own fields: which of them can be filtered by, and the two that say who may find it."""

import json
import math
from collections.abc import Mapping
from typing import Any

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.contract import FieldValue, UnparsableError

__all__ = ["audience_of", "fields_as_json", "filterable_fields"]

_MAX_GROUPS = 200
_MAX_NAME_CHARS = 200
_MAX_FIELDS_CHARS = 64 * 2**10


def filterable_fields(fields: Any, doc_id: str | None = None) -> dict[str, FieldValue]:
    """Keep strings, booleans and numbers of at most 64 bits, `tenant` as a string and `groups` as a list of strings.

    Raises:
        UnparsableError: `tenant` or `groups` can't be understood; then nobody knows who may find the document.
    """
    if not isinstance(fields, Mapping):
        return {}
    kept: dict[str, FieldValue] = {name: value for name, value in fields.items() if _is_filterable(value)}
    tenant, groups = fields.get("tenant"), fields.get("groups")
    if tenant is not None:
        kept["tenant"] = _name("tenant", tenant, doc_id)
    if groups is not None:
        listed = groups if isinstance(groups, list) else [groups]
        if not 0 < len(listed) <= _MAX_GROUPS:
            detail = f"`groups` lists {len(listed)} groups; name 1 to {_MAX_GROUPS}, or leave it out for all"
            raise UnparsableError(RejectionReason.INVALID_ACCESS, detail, doc_id)
        kept["groups"] = sorted({_name("groups", group, doc_id) for group in listed})
    return kept


def fields_as_json(fields: Mapping[str, FieldValue], doc_id: str | None = None) -> str:
    """Write a document's fields for the tables.

    Raises:
        UnparsableError: they are so long that the document's chunks, each of which carries them, would be far more than
            its text.
    """
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
    if len(text) > _MAX_FIELDS_CHARS:
        detail = f"metadata of {len(text)} characters, more than {_MAX_FIELDS_CHARS}; keep what is filtered by"
        raise UnparsableError(RejectionReason.TOO_LARGE, detail, doc_id)
    return text


def audience_of(metadata: str) -> str:
    """Name the callers that may find a document, by its metadata as JSON; empty where that is everybody."""
    fields = json.loads(metadata)
    audience = [fields.get("tenant"), fields.get("groups")]
    return json.dumps(audience) if any(audience) else ""


def _is_filterable(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**63)


def _name(field: str, value: Any, doc_id: str | None) -> str:
    is_number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    name = str(value).strip() if is_number or isinstance(value, str) else ""
    if not 0 < len(name) <= _MAX_NAME_CHARS or not name.isprintable():
        detail = f"`{field}` must hold names of 1 to {_MAX_NAME_CHARS} printable characters"
        raise UnparsableError(RejectionReason.INVALID_ACCESS, detail, doc_id)
    return name
