"""What a Kafka message says: a document, that a document is gone, or nothing that can be accepted."""

from confluent_kafka import Message

from forebay.documents import RejectionReason
from forebay.sources.contract import Record, Rejected
from forebay.sources.formats import FORMATS

__all__ = ["MESSAGE_FORMATS", "Headers", "headers_of", "id_of", "place_of", "record_of"]

Headers = list[tuple[str, str | bytes | None]]

MESSAGE_FORMATS = frozenset({"row", *FORMATS.values()} - {"jsonl", "parquet"})
"""What the header `format` may say: `row`, or a format of which one value is one document."""

_FORMAT_HEADER = "format"
_MAX_ID_CHARS = 512


class _InvalidMessageError(Exception):
    def __init__(self, reason: RejectionReason, detail: str, doc_id: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.doc_id = doc_id


def place_of(topic: str, partition: int, offset: int) -> str:
    """Name a message: `topic/partition@offset`."""
    return f"{topic}/{partition}@{offset}"


def record_of(message: Message, max_bytes: int) -> Record | Rejected:
    """Map a message to a record: key = id, null value = deleted, header `format` = how the value is parsed.

    Args:
        message: A message, not an event.
        max_bytes: Largest value that is accepted.

    Returns:
        A record whose `position` is the offset, so that the last word on a key has the highest one.
    """
    offset = message.offset() or 0
    place = place_of(message.topic() or "", message.partition() or 0, offset)
    try:
        return _record(message, place, offset, max_bytes)
    except _InvalidMessageError as exc:
        return Rejected(place, offset, exc.reason, str(exc), exc.doc_id)


def _record(message: Message, place: str, offset: int, max_bytes: int) -> Record:
    doc_id, value = _doc_id(message), message.value()
    if value is None:
        if doc_id is None:
            raise _InvalidMessageError(RejectionReason.INVALID_ID, "the message has neither a key nor a value")
        return Record(place, offset, b"", "row", doc_id, is_deleted=True)
    if len(value) > max_bytes:
        detail = f"a value of {len(value)} bytes, larger than {max_bytes}"
        raise _InvalidMessageError(RejectionReason.TOO_LARGE, detail, doc_id)
    format_name = _format(message)
    if format_name not in MESSAGE_FORMATS:
        detail = f"the header {_FORMAT_HEADER!r} is none of {', '.join(sorted(MESSAGE_FORMATS))}"
        raise _InvalidMessageError(RejectionReason.UNSUPPORTED_FORMAT, detail, doc_id)
    return Record(place, offset, value, format_name, doc_id)


def id_of(message: Message) -> str | None:
    """Give the document's id that the key names; None without a key that can be one."""
    try:
        return _doc_id(message)
    except _InvalidMessageError:
        return None


def headers_of(message: Message) -> Headers:
    """Give the headers in their order; Kafka allows a name more than once."""
    headers = message.headers() or []
    return list(headers.items() if isinstance(headers, dict) else headers)


def _doc_id(message: Message) -> str | None:
    key = message.key()
    if key is None:
        return None
    try:
        doc_id = key.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _InvalidMessageError(RejectionReason.INVALID_ID, "the key is not UTF-8") from exc
    if not 0 < len(doc_id) <= _MAX_ID_CHARS:
        detail = f"a key of {len(doc_id)} characters, not 1 to {_MAX_ID_CHARS}"
        raise _InvalidMessageError(RejectionReason.INVALID_ID, detail)
    return doc_id


def _format(message: Message) -> str:
    # The last one counts.
    values = [value for name, value in headers_of(message) if name == _FORMAT_HEADER and value is not None]
    if not values:
        return "row"
    value = values[-1]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
