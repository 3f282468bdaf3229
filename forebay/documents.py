"""The tables of documents, units, duplicates and rejects: Arrow schemas, content hashes and rejection reasons."""

import hashlib
from collections.abc import Iterable
from enum import StrEnum

import pyarrow as pa

__all__ = [
    "COMPARISONS",
    "DOCUMENTS",
    "DUPLICATES",
    "PARSER_VERSION",
    "QUARANTINE",
    "UNITS",
    "RejectionReason",
    "content_hash",
    "hash_of_parts",
    "partition_key",
    "partition_keys",
    "partition_number",
]

PARSER_VERSION = "5"
"""Version of the parsers, changed by hand with what they give: files that another one read are read again."""

DOCUMENTS = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("bands", pa.list_(pa.int64()), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row per document. `text` is plain text, Markdown (format `markdown`) or pages divided by form feeds (`pages`);
`language` is an ISO 639-1 code or `und`; `metadata` is a JSON object of filterable scalars, and of the list `groups`;
`uri` is the unit of `source` that it was read from; documents that share one of the `bands` may be duplicates (see
`spark_jobs.parse_documents.signatures`)."""

UNITS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("parser", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row per unit of a source that the document table reflects. A unit whose `version` and `parser` are still the
same isn't read again; an empty version means that it must be."""

DUPLICATES = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("canonical_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row per document that is searched for through another one, `canonical_id`. `kind` is `exact` (the same words) or
`near`; `similarity` is the Jaccard similarity of the word shingles with the nearest document of the group."""

COMPARISONS = pa.schema(
    [
        pa.field("one", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),
        pa.field("is_exact", pa.bool_(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row per pair of documents that may be duplicates, the smaller id first; `similarity` as in `DUPLICATES`, however
small, and `is_exact` where both have the same shingles; `run_id` is the run that compared them."""

QUARANTINE = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=True),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row per document of `source` that was rejected; `uri` is its place, `unit` the unit that holds it."""


class RejectionReason(StrEnum):
    """Why a document was not accepted."""

    UNREADABLE = "unreadable"
    GONE = "gone"
    UNSUPPORTED_FORMAT = "unsupported_format"
    BINARY_CONTENT = "binary_content"
    UNKNOWN_ENCODING = "unknown_encoding"
    TOO_LARGE = "too_large"
    INVALID_JSON = "invalid_json"
    MISSING_TEXT = "missing_text"
    BLANK_TEXT = "blank_text"
    INVALID_ID = "invalid_id"
    INVALID_ACCESS = "invalid_access"
    DUPLICATE_ID = "duplicate_id"
    PARSER_ERROR = "parser_error"
    PARSER_CRASHED = "parser_crashed"
    PARSER_TIMED_OUT = "parser_timed_out"
    WRONG_FORMAT = "wrong_format"
    ENCRYPTED = "encrypted"
    NO_TEXT_LAYER = "no_text_layer"
    TOO_MANY_PAGES = "too_many_pages"
    EXPANDS_TOO_FAR = "expands_too_far"
    CHANGED_WHILE_READ = "changed_while_read"
    FORBIDDEN_ADDRESS = "forbidden_address"


def content_hash(*parts: str) -> str:
    """Hash the parts of a document or chunk that make it what it is.

    Args:
        parts: Strings in a fixed order; each is length-prefixed, so moving text between parts changes the hash.

    Returns:
        32 lower-case hexadecimal digits (BLAKE2b, 128 bits).
    """
    return hash_of_parts(parts)


def hash_of_parts(parts: Iterable[str]) -> str:
    """Give the `content_hash` of parts that may be too many to hold."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def partition_keys(n_shards: int) -> list[str]:
    """Name the Dagster partitions of a corpus with `n_shards` shards: `s000`, `s001`, ..."""
    return [partition_key(number) for number in range(n_shards)]


def partition_key(number: int) -> str:
    """Name the Dagster partition of a shard."""
    return f"s{number:03d}"


def partition_number(key: str) -> int:
    """Give the shard number of a partition key; the inverse of `partition_keys`."""
    return int(key.removeprefix("s"))
