"""A hundred thousand real chunks with their vectors, made once and kept in Forebay's cache folder.

The texts are Cranfield's abstracts and what installed packages say about themselves, cut by the product's chunker; no
two chunks have the same text. Some documents are held out: no chunk of theirs is indexed, and their first sentences are
the questions, unless a chunk of another document says the same.
"""

import hashlib
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.installed_texts import installed_texts
from benchmarks.real_chunks import abstracts
from forebay.chunks import CHUNKER_VERSION, ChunkLimits, embedded_text
from forebay.documents import content_hash
from forebay.embedding import Embedder
from forebay.embedding.sentence_transformer import load_embedder
from forebay.embedding.spec import EmbeddingSpec
from forebay.embedding.tokens import TokenCounter
from forebay.models import model_folder
from forebay.settings import PathSettings
from spark_jobs.chunk_documents.chunker import Chunker, Piece

__all__ = ["VectorCorpus", "load_vector_corpus"]

# Changed by hand with what is chosen and cut here: chunks that another version kept aren't taken for these.
_VERSION = "2"
_HELD_OUT_EVERY = 60
_PART = 4096
_LEAST_QUESTION_CHARS = 30
_MOST_QUESTION_CHARS = 150


@dataclass(frozen=True)
class VectorCorpus:
    """Chunks as the index takes them, and questions."""

    rows: pa.Table
    """The columns that a shard is built from, `vector` among them."""
    vectors: NDArray[np.float32]
    """(n_chunks, dim), unit rows, in the order of `rows`."""
    questions: list[str]
    """First sentences of documents that are not in the index; none of them stands in a chunk that is."""


def load_vector_corpus(spec: EmbeddingSpec, paths: PathSettings, n_chunks: int) -> VectorCorpus:
    """Make the corpus, or read what was made before; a killed one goes on where it stopped."""
    version = f"{CHUNKER_VERSION}.{_VERSION}"
    folder = paths.home.absolute() / "benchmarks" / f"vectors-{spec.fingerprint}-{version}-{n_chunks}"
    folder.mkdir(parents=True, exist_ok=True)
    texts = folder / "chunks.parquet"
    if not texts.exists():
        model = model_folder(spec.model, paths.models)
        table = pa.Table.from_pylist(list(_rows(model, n_chunks)))
        pq.write_table(table, f"{texts}.part")
        Path(f"{texts}.part").rename(texts)
    table = pq.read_table(texts)
    is_question = table.column("is_question").to_numpy(zero_copy_only=False)
    rows = table.filter(pa.array(~is_question)).drop_columns(["is_question"])
    embedded = [embedded_text(row["title"], row["heading_path"], row["text"]) for row in rows.to_pylist()]
    vectors = _vectors(embedded, load_embedder(spec, paths.models), folder)
    dense = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    questions = table.filter(pa.array(is_question)).column("text").to_pylist()
    indexed = "\x00".join(_plain(text) for text in rows.column("text").to_pylist())
    unsaid = [question for question in questions if _plain(question) not in indexed]
    return VectorCorpus(rows.append_column("vector", dense), vectors, unsaid)


def _rows(model: Path, n_chunks: int) -> Iterator[dict[str, object]]:
    """Give chunks until there are enough, and between them questions in place of documents that are held out."""
    chunker = Chunker(ChunkLimits(max_tokens=250, overlap_tokens=32), TokenCounter.of(model))
    seen: set[str] = set()
    indexed = 0
    for number, (source, doc_id, title, text, format_name) in enumerate(_documents()):
        pieces = {_text_key(piece.text): piece for piece in chunker.split(title, text, format_name)}
        new = {key: piece for key, piece in pieces.items() if key not in seen}
        seen.update(new)
        question = _first_sentence(text)
        is_whole = len(new) == len(pieces) and len(question) >= _LEAST_QUESTION_CHARS
        if source != "cranfield" and number % _HELD_OUT_EVERY == 0 and is_whole and _text_key(question) not in seen:
            seen.add(_text_key(question))
            first = next(iter(new.values()))
            yield {**_row(source, doc_id, first), "text": question, "is_question": True}
            continue
        for piece in new.values():
            yield {**_row(source, doc_id, piece), "is_question": False}
            indexed += 1
            if indexed % 10_000 == 0:
                print(f"cut {indexed} of {n_chunks} chunks", flush=True)
            if indexed == n_chunks:
                return


def _documents() -> Iterator[tuple[str, str, str, str, str]]:
    for doc_id, title, text in abstracts():
        yield "cranfield", doc_id, title, text, "text"
    for doc_id, title, text, format_name in installed_texts():
        yield "packages", doc_id, title, text, format_name


def _text_key(text: str) -> str:
    return content_hash(_plain(text))


def _plain(text: str) -> str:
    return " ".join(text.split())


def _row(source: str, doc_id: str, piece: Piece) -> dict[str, object]:
    key = content_hash(piece.title, piece.heading_path, piece.text)
    return {
        "chunk_id": str(uuid.uuid5(uuid.NAMESPACE_URL, key)),
        "doc_id": doc_id,
        "title": piece.title,
        "heading_path": piece.heading_path,
        "page": piece.page,
        "text": piece.text,
        "start_char": piece.start,
        "end_char": piece.end,
        "text_hash": key,
        "source": source,
        "uri": doc_id,
        "format": "text",
        "language": "en",
        "metadata": "{}",
        "locations": "[]",
    }


def _vectors(texts: list[str], embedder: Embedder, folder: Path) -> NDArray[np.float32]:
    parts: list[NDArray[np.float32]] = []
    began, done = time.monotonic(), 0
    for start in range(0, len(texts), _PART):
        part = texts[start : start + _PART]
        digest = hashlib.sha256("\x00".join(part).encode("utf-8", "replace")).hexdigest()[:16]
        kept = folder / f"{digest}.npy"
        if not kept.exists():
            staging = folder / f".{digest}.npy"
            np.save(staging, embedder.embed_documents(part), allow_pickle=False)
            staging.rename(kept)
            done += len(part)
            rate = done / (time.monotonic() - began)
            print(f"embedded {start + len(part)} of {len(texts)} chunks, {rate:.0f} texts/s", flush=True)
        parts.append(np.load(kept, allow_pickle=False))
    return np.concatenate(parts)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s|\n\s*\n", text.strip())[0][:_MOST_QUESTION_CHARS]
