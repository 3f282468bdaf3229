"""What a source of documents does: list what changed since a cursor, and read one unit of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from forebay.documents import RejectionReason
from forebay.errors import ForebayError

__all__ = ["Changes", "ReadUnit", "Record", "Rejected", "Source", "UnreadableError"]

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class ReadUnit:
    """The smallest thing that is listed and read: a file, a page, a range of a large file or of a topic."""

    uri: str
    """Name within the source, printable; the ranges of one file share it."""
    format: str
    """One of the values of `forebay.sources.formats.FORMATS`, or `unsupported`."""
    version: str
    """Equal versions mean equal bytes, as far as the source can tell (modification time, ETag, blob id)."""
    address: bytes
    """How the connector finds it again."""
    start: int = 0
    """First byte (or row group, or offset) of the range."""
    end: int = 0
    """The one after the range."""


@dataclass(frozen=True)
class Record:
    """One thing that should become a document, as the source gave it."""

    uri: str
    """The unit, and within it the place: `rows.jsonl#L3`."""
    position: int
    """Order within the unit: byte of the line, number of the row, offset of the message."""
    data: bytes
    """What is to be parsed."""
    format: str
    """How: one of the values of `FORMATS`, or `row` for a JSON object with `text` and perhaps `id`, `title`,
    `metadata`."""
    doc_id: str | None = None
    """Id that the source gives, before any that the data names; None where it gives none."""
    is_deleted: bool = False
    """Whether the source says that the document of this id is gone."""
    metadata: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    """Filterable fields that the source knows, such as a page's address."""


@dataclass(frozen=True)
class Rejected:
    """A document, or the part of a unit that should have been one, that can't be accepted."""

    uri: str
    line: int
    reason: RejectionReason
    detail: str
    doc_id: str | None = None


@dataclass(frozen=True)
class Changes:
    """What a source holds, or what happened to it, since a cursor."""

    units: Sequence[ReadUnit]
    """What there is to read."""
    cursor: str
    """Where to go on: equal cursors mean that nothing changed in between."""
    is_snapshot: bool = True
    """Whether `units` is all that exists, so that what it lacks was deleted; else it is only what changed."""


class UnreadableError(ForebayError):
    """A unit can't be read, which never costs the job.

    With `UNREADABLE` and `CHANGED_WHILE_READ` a snapshot's unit keeps the documents of its last reading, and is read
    again by the next run; with every other reason they are gone.
    """

    def __init__(self, reason: RejectionReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Source(Protocol):
    """A place that documents come from; made on the driver, pickled to the tasks that read."""

    @property
    def name(self) -> str:
        """Identity of the source, without secrets; stands in every row that came from it."""
        ...

    def changes(self, cursor: str | None = None) -> Changes:
        """List what there is; a source may leave out what an earlier cursor has already covered.

        Raises:
            ConfigurationError: the source doesn't exist or can't be listed; the sentence says what to do.
        """
        ...

    def read(self, unit: ReadUnit, max_bytes: int) -> Iterator[Record | Rejected]:
        """Read a unit, never holding much more than `max_bytes` of it.

        Raises:
            UnreadableError: the unit is gone, refused, too large or changes all the time.
            OSError: it can't be read for a reason that the operating system names.
        """
        ...

    def acknowledge(self, changes: Changes, rejected: Sequence[Rejected]) -> None:
        """Learn that everything of `changes` is in the tables or in quarantine, and safely so."""
        ...
