"""What a reader gives, and how it refuses."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from forebay.documents import RejectionReason

__all__ = ["Extracted", "FieldValue", "UnparsableError"]

FieldValue = str | int | float | bool | list[str]
"""What a document's own field may hold; a list only where it is the document's `groups`."""


@dataclass(frozen=True)
class Extracted:
    """The text of one file."""

    text: str
    """Plain text; Markdown where `format` says so; pages divided by form feeds where it is `pages`."""
    format: str
    """`text`, `markdown` or `pages`: how the text is divided into sections."""
    title: str = ""
    """Title that the file itself gives; empty where it gives none."""
    metadata: Mapping[str, FieldValue] = field(default_factory=dict[str, FieldValue])
    """Filterable fields that the file gives, such as `author`."""


class UnparsableError(Exception):
    """The bytes are no document of this format; costs that document only."""

    def __init__(self, reason: RejectionReason, detail: str, doc_id: str | None = None) -> None:
        # All of them in `args`, so that it can be pickled between processes.
        super().__init__(reason, detail, doc_id)
        self.reason = reason
        self.detail = detail
        self.doc_id = doc_id
