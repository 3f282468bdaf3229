"""The chunk table: Arrow schema, ids, and the text of a chunk that is embedded."""

import uuid

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from forebay.errors import ConfigurationError
from forebay.settings import ChunkSettings

__all__ = ["CHUNKER_VERSION", "CHUNKS", "ChunkLimits", "chunk_id", "chunk_limits", "embedded_text"]

CHUNKER_VERSION = "4"
"""Version of the chunker, changed by hand with what it gives: documents that another one cut are cut again."""

CHUNKS = pa.schema(
    [
        pa.field("chunk_id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("chunk_no", pa.int32(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("heading_path", pa.string(), nullable=False),
        pa.field("page", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("start_char", pa.int64(), nullable=False),
        pa.field("end_char", pa.int64(), nullable=False),
        pa.field("n_tokens", pa.int32(), nullable=False),
        pa.field("text_hash", pa.string(), nullable=False),
        pa.field("doc_hash", pa.string(), nullable=False),
        pa.field("chunker", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("locations", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row per chunk. `start_char`/`end_char` locate `text` in the document's text; `text_hash` identifies what is
embedded (with late chunking, the window and the place in it: `forebay.embedding.windows`), `doc_hash` the document
version it was cut from, `chunker` the configuration that cut it. `page` counts from 1 and is 0 where the document has
none; `locations` is a JSON list of the other places (`source`, `uri`, `doc_id`) where duplicates of the document lie.
"""

_NAMESPACE = uuid.UUID("6f0c2f6e-2a0b-5a55-9d1c-0f6b7f1b8a11")


def chunk_id(corpus: str, doc_id: str, chunk_no: int) -> str:
    """Give the id of a chunk: a version-5 UUID over (corpus, document, chunk number)."""
    return str(uuid.uuid5(_NAMESPACE, f"{len(corpus)}:{corpus}{len(doc_id)}:{doc_id}{chunk_no}"))


def embedded_text(title: str, heading_path: str, text: str) -> str:
    """Build the text of a chunk that is embedded and indexed for BM25.

    The title and the headings give a passage the context that its own words may lack; a title that the passage
    already begins with is not said twice.
    """
    context = [part for part in (title.strip(), heading_path.strip()) if part and not text.startswith(part)]
    return "\n".join([*context, text])


# Special tokens, and what may be added where a title and a text are joined.
_SPARE_TOKENS = 6
_LATE_TOKENS = 256
_LATE_CHUNKS = 4


class ChunkLimits(BaseModel):
    """How long chunks are, in the tokens of one model."""

    model_config = ConfigDict(frozen=True)

    max_tokens: int
    """Most tokens of a chunk, title and heading path included, special tokens left out."""
    overlap_tokens: int
    """Tokens shared by neighbouring chunks of one section."""
    window_tokens: int | None = None
    """Most tokens of the chunks that the model reads at once (late chunking); None: it reads each by itself."""


def chunk_limits(settings: ChunkSettings, model_tokens: int, *, is_late: bool) -> ChunkLimits:
    """Fit the settings to a model.

    With late chunking, chunks have a quarter of what the model takes, or 256 tokens, unless told otherwise, and don't
    overlap: they see each other anyway.

    Args:
        settings: What is wanted.
        model_tokens: Longest input of the model, special tokens included.
        is_late: Whether the model reads several chunks at once.

    Raises:
        ConfigurationError: longer chunks are wanted than the model takes.
    """
    longest = model_tokens - _SPARE_TOKENS
    if settings.max_tokens is not None and settings.max_tokens > longest:
        raise ConfigurationError(
            f"FOREBAY_CHUNK_MAX_TOKENS is {settings.max_tokens}, but the embedding model takes {longest}: the end of "
            "a chunk would not be found. Set it to less, or leave it out."
        )
    if is_late:
        short = settings.max_tokens or min(_LATE_TOKENS, longest // _LATE_CHUNKS)
        return ChunkLimits(max_tokens=short, overlap_tokens=0, window_tokens=longest)
    return ChunkLimits(max_tokens=settings.max_tokens or longest, overlap_tokens=settings.overlap_tokens)
