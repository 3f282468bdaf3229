"""Chunks of real text that every checkout has: Cranfield's abstracts and scikit-learn's documentation strings."""

import ast
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import sklearn

from benchmarks.machine import SAMPLE
from forebay.chunks import ChunkLimits
from forebay.documents import content_hash
from forebay.embedding.tokens import TokenCounter
from spark_jobs.chunk_documents.chunker import Chunker

_LEAST_CHARS = 400


def real_chunks(model: Path, n_chunks: int) -> list[dict[str, str]]:
    """Cut documents with the product's chunker, half of the chunks from either source.

    Returns:
        Rows of `text_hash`, `title`, `heading_path`, `text`, as the embedding job reads them.
    """
    chunker = Chunker(ChunkLimits(max_tokens=250, overlap_tokens=32), TokenCounter.of(model))
    half = n_chunks // 2
    return [
        *islice(_cut(chunker, ((title, text) for _, title, text in abstracts())), half),
        *islice(_cut(chunker, _documentation()), n_chunks - half),
    ]


def _cut(chunker: Chunker, documents: Iterator[tuple[str, str]]) -> Iterator[dict[str, str]]:
    for title, text in documents:
        for piece in chunker.split(title, text, "text"):
            key = content_hash(piece.title, piece.heading_path, piece.text)
            yield {"text_hash": key, "title": piece.title, "heading_path": piece.heading_path, "text": piece.text}


def abstracts() -> Iterator[tuple[str, str, str]]:
    """Give id, title and text of Cranfield's documents."""
    for line in (SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        yield row["_id"], row["title"], row["text"]


def _documentation() -> Iterator[tuple[str, str]]:
    for path in sorted(Path(sklearn.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if len(text) >= _LEAST_CHARS:
                    yield getattr(node, "name", path.stem), text
