"""What embedding a corpus again with another model would cost, found without writing anything."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forebay.chunks import ChunkLimits, chunk_limits, embedded_text
from forebay.embedding.choice import corpus_specs, resolve_spec
from forebay.embedding.late_chunking import load_window_embedder
from forebay.embedding.sentence_transformer import load_embedder
from forebay.embedding.spec import EmbeddingSpec
from forebay.embedding.tokens import TokenCounter
from forebay.embedding.windows import windows_of
from forebay.errors import ConfigurationError, DataError
from forebay.models import model_folder
from forebay.releases import ReleaseRegistry
from forebay.settings import ChunkSettings, EmbeddingSettings, PathSettings
from forebay.tables import chunk_table, embedding_table

__all__ = ["Cost", "estimate", "wanted_spec"]

_SAMPLE = 256
_INDEX_COPY_BYTES = 1
"""Bytes of a dimension in the int8 copy that an index walks, beside the 4 of the original."""


@dataclass(frozen=True)
class Cost:
    """What a corpus with another model costs."""

    before: EmbeddingSpec
    """Model that is searched with now."""
    spec: EmbeddingSpec
    """Model that would be."""
    chunks: int
    """Chunks of the corpus."""
    texts: int
    """Different texts among them: what is embedded."""
    tokens: int
    """The new model's tokens in these texts, special tokens left out."""
    known_texts: int
    """Texts that have a vector of the new model already, as after a killed run."""
    tokens_per_s: float
    """Measured on a sample of the corpus, with all cores of this machine."""
    index_bytes: int
    """Size of the new release's shards."""

    @property
    def hours(self) -> float:
        """Time to embed what has no vector yet, on this machine."""
        pending = self.tokens * (1 - min(1.0, self.known_texts / max(1, self.texts)))
        return pending / self.tokens_per_s / 3600

    @property
    def vector_bytes(self) -> int:
        """Size of the new embeddings table."""
        return self.texts * self.spec.dim * 4

    @property
    def is_exact(self) -> bool:
        """Say whether the counts are exact: the same model files cut the documents into the same chunks."""
        return self.before.revision == self.spec.revision and self.before.is_late == self.spec.is_late


def wanted_spec(settings: EmbeddingSettings, paths: PathSettings) -> EmbeddingSpec:
    """Give the identity of the model that is asked for.

    Raises:
        DataError: there is no corpus yet.
        ConfigurationError: the corpus is embedded with it already.
        ModelError: it is not there, or doesn't run as asked for.
    """
    if chunk_table(paths.tables).published() is None:
        raise DataError("there is no corpus yet; `forebay ingest PATH` makes one, with FOREBAY_EMBEDDING_MODEL.")
    spec = resolve_spec(settings, paths)
    current = ReleaseRegistry(paths.releases).current()
    if current is not None and current.embedding == spec:
        raise ConfigurationError(
            f"the current release is embedded with {spec.model} already ({spec.engine} {spec.precision}); there is "
            "nothing to do."
        )
    return spec


def estimate(spec: EmbeddingSpec, paths: PathSettings) -> Cost:
    """Count tokens and time the new model on a sample of the corpus; takes seconds.

    Raises:
        ConfigurationError: longer chunks are asked for than the new model takes.
        DataError: there is no corpus yet.
    """
    chunks = chunk_table(paths.tables).published()
    made = corpus_specs(paths)
    if chunks is None or not made:
        raise DataError("there is no corpus yet; `forebay ingest PATH` makes one.")
    before, rows = made[0], chunks.count_rows()
    places = np.linspace(0, rows - 1, min(rows, _SAMPLE)).astype(int).tolist()
    sample = chunks.take(places, columns=["title", "heading_path", "text"]).to_pylist()
    texts = [embedded_text(row["title"], row["heading_path"], row["text"]) for row in sample]
    old, new = (_token_counts(texts, model_folder(made.model, paths.models)) for made in (before, spec))
    count = TokenCounter.of(model_folder(spec.model, paths.models))
    context = np.array([count(embedded_text(row["title"], row["heading_path"], "")) for row in sample])
    pieces = _pieces(new, context, chunk_limits(ChunkSettings(), spec.max_tokens, is_late=spec.is_late))
    total = sum(int(np.asarray(batch.column("n_tokens")).sum()) for batch in chunks.to_batches(columns=["n_tokens"]))
    distinct = embedding_table(paths.tables, before).published_rows() or rows
    index_bytes = _bytes_per_chunk(paths, before) * rows
    wider = (spec.dim - before.dim) * (4 + _INDEX_COPY_BYTES)
    return Cost(
        before=before,
        spec=spec,
        chunks=round(rows * pieces),
        texts=round(distinct * pieces),
        tokens=round(total * distinct / rows * new.sum() / old.sum()),
        known_texts=embedding_table(paths.tables, spec).published_rows(),
        # What is beyond its longest input is not computed.
        tokens_per_s=np.minimum(new, spec.max_tokens).sum() / _seconds(spec, texts, new, paths),
        index_bytes=round((index_bytes + wider * rows) * pieces),
    )


def _token_counts(texts: list[str], folder: Path) -> NDArray[np.int64]:
    count = TokenCounter.of(folder)
    return np.array([max(1, count(text)) for text in texts])


def _pieces(n_tokens: NDArray[np.int64], context: NDArray[np.int64], limits: ChunkLimits) -> float:
    """Give the mean number of chunks that a chunk of today would be cut into; one where the model takes longer ones.

    A lower bound: sentences are kept whole, so pieces are less full than they could be.

    Args:
        n_tokens: (n,) tokens of chunks, title and headings included.
        context: (n,) tokens of their titles and headings, which every piece repeats.
        limits: How long new chunks are.
    """
    budget = np.maximum(limits.max_tokens - context, 1)
    overlap = np.minimum(limits.overlap_tokens, budget // 2)
    beyond = np.maximum(n_tokens - limits.max_tokens, 0)
    return float(np.mean(1 + np.ceil(beyond / (budget - overlap))))


def _seconds(spec: EmbeddingSpec, texts: list[str], n_tokens: NDArray[np.int64], paths: PathSettings) -> float:
    embed: Callable[[], object]
    if spec.is_late:
        late = load_window_embedder(spec, paths.models)  # pyright: ignore[reportArgumentType] - frozen, so hashable
        places = windows_of(n_tokens.tolist(), spec.max_tokens)
        embed = partial(late.embed_windows, [[texts[place] for place in window] for window in places])
    else:
        plain = load_embedder(spec, paths.models)  # pyright: ignore[reportArgumentType] - frozen, so hashable
        embed = partial(plain.embed_documents, texts)
    # The first time, memory is asked for.
    embed()
    began = time.perf_counter()
    embed()
    return time.perf_counter() - began


def _bytes_per_chunk(paths: PathSettings, spec: EmbeddingSpec) -> float:
    current = ReleaseRegistry(paths.releases).current()
    if current is None or not current.chunks:
        return float(spec.dim * (4 + _INDEX_COPY_BYTES))
    return sum(ref.bytes for ref in current.shards) / current.chunks
