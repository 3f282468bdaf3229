"""A million chunks and questions that no machine has to embed: clustered vectors in the manner of real ones, and text.

Vectors are drawn from a mixture: centres from a Gaussian with the mean and covariance of Cranfield's real vectors
(all-MiniLM-L6-v2, 384 dimensions), members around them with the covariance of real vectors around their nearest
neighbours. Texts are five sentences, drawn from 5,000 of a shard by a Markov chain over Cranfield's words. Questions
are new members of the same clusters, with the words of Cranfield's questions. Everything follows from a seed.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.generated_corpus import TextGenerator
from benchmarks.machine import SAMPLE
from forebay.documents import content_hash
from forebay.embedding import Embedder

__all__ = ["SELECTIVITIES", "ScaleCorpus", "document_of", "fit_corpus"]

SELECTIVITIES = {"0.1%": ("permille", 1000), "1%": ("percent", 100), "10%": ("tenth", 10), "50%": ("half", 2)}
"""Metadata field and modulus of each filter: every n-th chunk has 0 in it."""

_CHUNKS_PER_CLUSTER = 100
_SENTENCES = 5_000
_SENTENCE_CHARS = 120
_SENTENCES_OF_A_CHUNK = 5
_BATCH = 1024
_SEED = 7

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class ScaleCorpus:
    """Chunks by their number, in shards of equal size."""

    size: int
    shards: int
    mean: Vectors
    """(dim,) float32."""
    centre_axes: Vectors
    """(dim, dim) float32: a standard normal row times it varies like real vectors around their mean."""
    member_axes: Vectors
    """(dim, dim) float32: the same, like real vectors around their neighbours."""

    def numbers(self, shard: int) -> range:
        """Give the chunks of a shard."""
        return range(self.size * shard // self.shards, self.size * (shard + 1) // self.shards)

    def vectors(self, shard: int) -> Vectors:
        """Make the (n, dim) float32 unit vectors of a shard."""
        return np.concatenate([*self._vector_blocks(shard)])

    def questions(self, n: int) -> tuple[list[str], Vectors]:
        """Give n questions in words, and as (n, dim) float32 unit vectors."""
        lines = (SAMPLE / "queries.jsonl").read_text("utf-8").splitlines()
        texts = [json.loads(line)["text"] for line in lines]
        vectors = np.concatenate([*self._members(n, np.random.default_rng([_SEED, 2]))])
        return [texts[number % len(texts)] for number in range(n)], vectors

    def batches(self, shard: int) -> Iterator[pa.RecordBatch]:
        """Give the rows of a shard as the index job does."""
        numbers = self.numbers(shard)
        generator = TextGenerator(_SEED * 1000 + shard)
        sentences = [generator.text(_SENTENCE_CHARS) for _ in range(_SENTENCES)]
        chosen = np.random.default_rng([_SEED, 3, shard]).integers(
            _SENTENCES, size=(len(numbers), _SENTENCES_OF_A_CHUNK)
        )
        starts = range(0, len(numbers), _BATCH)
        for start, vectors in zip(starts, self._vector_blocks(shard), strict=True):
            part = numbers[start : start + _BATCH]
            texts = [". ".join(sentences[one] for one in ones) for ones in chosen[start : start + len(part)].tolist()]
            rows = [_row(number, text) for number, text in zip(part, texts, strict=True)]
            dense = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
            batch = pa.RecordBatch.from_pylist(rows)
            yield pa.RecordBatch.from_arrays([*batch.columns, dense], names=[*batch.schema.names, "vector"])

    def _vector_blocks(self, shard: int) -> Iterator[Vectors]:
        return self._members(len(self.numbers(shard)), np.random.default_rng([_SEED, 1, shard]))

    def _members(self, n: int, rng: np.random.Generator) -> Iterator[Vectors]:
        """Make n unit vectors, (up to 1024, dim) float32 at a time."""
        clusters = max(1, self.size // _CHUNKS_PER_CLUSTER)
        dim = len(self.mean)
        # Every cluster's centre has a seed of its own, so that shards and questions share them.
        for start in range(0, n, _BATCH):
            chosen = rng.integers(clusters, size=min(_BATCH, n - start))
            normal = np.stack(
                [np.random.default_rng([_SEED, 0, one]).standard_normal(dim, np.float32) for one in chosen]
            )
            around = rng.standard_normal((len(chosen), dim), np.float32)
            vectors = self.mean + normal @ self.centre_axes + around @ self.member_axes
            yield (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def fit_corpus(embedder: Embedder, size: int, shards: int) -> ScaleCorpus:
    """Fit the mixture to Cranfield's abstracts."""
    rows = [json.loads(line) for line in (SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()]
    real = embedder.embed_documents([row["text"][:800] for row in rows if row["text"].strip()])
    mean = real.mean(axis=0)
    similarity = real @ real.T
    np.fill_diagonal(similarity, -1)
    to_neighbour = (real - real[similarity.argmax(axis=1)]) / np.sqrt(2)
    return ScaleCorpus(size, shards, mean, _axes(real - mean), _axes(to_neighbour))


def _axes(differences: Vectors) -> Vectors:
    values, vectors = np.linalg.eigh(np.cov(differences.T))
    return (np.sqrt(np.maximum(values, 0))[:, None] * vectors.T).astype(np.float32)


def document_of(chunk_id: uuid.UUID) -> str:
    """Give the id of a chunk's document, which holds no other."""
    return str(chunk_id.int - 1)


def _row(number: int, text: str) -> dict[str, object]:
    metadata = {name: number % modulus for name, modulus in SELECTIVITIES.values()}
    return {
        "chunk_id": str(uuid.UUID(int=number + 1)),
        "doc_id": str(number),
        "title": text[:40],
        "heading_path": "",
        "page": 0,
        "text": text,
        "start_char": 0,
        "end_char": len(text),
        "text_hash": content_hash(str(number)),
        "source": "generated",
        "uri": str(number),
        "format": "text",
        "language": "en",
        "metadata": json.dumps(metadata),
        "locations": "[]",
    }
