"""The document and quarantine tables: Arrow schemas, ids, content hashes and rejection reasons."""

import hashlib
from enum import StrEnum

import pyarrow as pa

__all__ = ["DOCUMENTS", "QUARANTINE", "RejectionReason", "content_hash", "partition_keys", "partition_number"]

DOCUMENTS = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row per document. `text` is plain text or Markdown (format `markdown`); `metadata` is a JSON object of
filterable scalars; `uri` is the file below `source`, with `#L<line>` for a row of a JSONL file."""

QUARANTINE = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=True),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row per document that the last ingestion of `source` rejected."""


class RejectionReason(StrEnum):
    """Why a document was not accepted."""

    UNREADABLE = "unreadable"
    UNSUPPORTED_FORMAT = "unsupported_format"
    BINARY_CONTENT = "binary_content"
    UNKNOWN_ENCODING = "unknown_encoding"
    TOO_LARGE = "too_large"
    INVALID_JSON = "invalid_json"
    MISSING_TEXT = "missing_text"
    BLANK_TEXT = "blank_text"
    INVALID_ID = "invalid_id"
    DUPLICATE_ID = "duplicate_id"
    PARSER_ERROR = "parser_error"


def content_hash(*parts: str) -> str:
    """Hash the parts of a document or chunk that make it what it is.

    Args:
        parts: Strings in a fixed order; each is length-prefixed, so moving text between parts changes the hash.

    Returns:
        32 lower-case hexadecimal digits (BLAKE2b, 128 bits).
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def partition_keys(n_shards: int) -> list[str]:
    """Name the Dagster partitions of a corpus with `n_shards` shards: `s000`, `s001`, ..."""
    return [f"s{number:03d}" for number in range(n_shards)]


def partition_number(key: str) -> int:
    """Give the shard number of a partition key; the inverse of `partition_keys`."""
    return int(key.removeprefix("s"))
