"""A hundred thousand real chunks with their vectors, made once and kept in Forebay's cache folder.

The texts are Cranfield's abstracts and the documentation strings of whatever Python packages are installed here, cut by
the product's chunker; every 200th chunk is held out, and the first sentence of its text is a question.
"""

import ast
import hashlib
import re
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn
from numpy.typing import NDArray

from benchmarks.real_chunks import abstracts
from forebay.chunks import ChunkLimits, embedded_text
from forebay.documents import content_hash
from forebay.embedding import Embedder
from forebay.embedding.sentence_transformer import load_embedder
from forebay.embedding.spec import EmbeddingSpec
from forebay.embedding.tokens import TokenCounter
from forebay.models import model_folder
from forebay.settings import PathSettings
from spark_jobs.chunk_documents.chunker import Chunker

__all__ = ["VectorCorpus", "load_vector_corpus"]

_LEAST_CHARS = 200
_HELD_OUT_EVERY = 200
_PART = 4096
_QUESTION_CHARS = 150


@dataclass(frozen=True)
class VectorCorpus:
    """Chunks as the index takes them, and questions."""

    rows: pa.Table
    """The columns that a shard is built from, `vector` among them."""
    vectors: NDArray[np.float32]
    """(n_chunks, dim), unit rows, in the order of `rows`."""
    questions: list[str]
    """First sentences of texts that are not in the index."""


def load_vector_corpus(spec: EmbeddingSpec, paths: PathSettings, n_chunks: int) -> VectorCorpus:
    """Make the corpus, or read what was made before; a killed one goes on where it stopped."""
    folder = paths.home.absolute() / "benchmarks" / f"vectors-{spec.fingerprint}-{n_chunks}"
    folder.mkdir(parents=True, exist_ok=True)
    texts = folder / "chunks.parquet"
    if not texts.exists():
        table = pa.Table.from_pylist(list(_chunks(spec, paths, n_chunks)))
        pq.write_table(table, f"{texts}.part")
        Path(f"{texts}.part").rename(texts)
    table = pq.read_table(texts)
    is_question = table.column("is_question").to_numpy(zero_copy_only=False)
    rows = table.filter(pa.array(~is_question)).drop_columns(["is_question"])
    embedded = [embedded_text(row["title"], row["heading_path"], row["text"]) for row in rows.to_pylist()]
    vectors = _vectors(embedded, load_embedder(spec, paths.models), folder)
    dense = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    asked = table.filter(pa.array(is_question)).column("text").to_pylist()
    return VectorCorpus(rows.append_column("vector", dense), vectors, [_first_sentence(text) for text in asked])


def _chunks(spec: EmbeddingSpec, paths: PathSettings, n_chunks: int) -> Iterator[dict[str, object]]:
    chunker = Chunker(
        ChunkLimits(max_tokens=250, overlap_tokens=32), TokenCounter.of(model_folder(spec.model, paths.models))
    )
    number = 0
    for row in islice(_cut(chunker), n_chunks + n_chunks // (_HELD_OUT_EVERY - 1)):
        is_cranfield = row["source"] == "cranfield"
        number += not is_cranfield
        yield {**row, "is_question": not is_cranfield and number % _HELD_OUT_EVERY == 0}


def _cut(chunker: Chunker) -> Iterator[dict[str, object]]:
    seen: set[str] = set()
    for source, documents in (("cranfield", abstracts()), ("packages", _documentation())):
        for doc_id, title, text in documents:
            for piece in chunker.split(title, text, "text"):
                key = content_hash(piece.title, piece.heading_path, piece.text)
                if key in seen:
                    continue
                seen.add(key)
                yield {
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


def _documentation() -> Iterator[tuple[str, str, str]]:
    packages = Path(sklearn.__file__).parent.parent
    for path in sorted(packages.rglob("*.py")):
        try:
            with warnings.catch_warnings():
                # Other people's invalid escapes.
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_text("utf-8"))
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if len(text) >= _LEAST_CHARS:
                    name = getattr(node, "name", path.stem)
                    yield f"{path.relative_to(packages)}:{name}", name, text


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
    return re.split(r"(?<=[.!?])\s|\n\s*\n", text.strip())[0][:_QUESTION_CHARS]
