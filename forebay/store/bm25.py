"""BM25 over several shards: term weights from Qdrant's tokenizer, inverse document frequency over the whole release.

Qdrant's own IDF modifier counts inside one shard, which ranks a shard's hits against its neighbours' wrongly;
with the document frequencies kept beside each shard the scores of all shards are on one scale.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qdrant_edge import Bm25, Bm25Config, DisabledStemmer, SparseVector, StopwordsSet

from forebay.languages import UNSTEMMED
from forebay.settings import IndexSettings

__all__ = ["DocumentFrequencies", "bm25_model"]

# Two milliseconds of one core; what is lost by it: docs/retrieval.md.
_MAX_POSTINGS = 200_000
_LEAST_TERMS = 3


def bm25_model(settings: IndexSettings, stemmer: str, *, keeps_stop_words: bool = False) -> Bm25:
    """Build the tokenizer and term-weight model that documents and queries share.

    Args:
        settings: Constants of the weights.
        stemmer: As `forebay.languages.stemmer_of` names it.
        keeps_stop_words: Whether the language's stop words are terms, too.
    """
    is_unstemmed = stemmer == UNSTEMMED
    return Bm25(
        Bm25Config(
            k=settings.bm25_k,
            b=settings.bm25_b,
            avg_len=settings.bm25_average_terms,
            # Without one it is English.
            language="english" if is_unstemmed else stemmer,
            stemmer=DisabledStemmer() if is_unstemmed else None,
            stopwords=StopwordsSet() if is_unstemmed or keeps_stop_words else None,
        )
    )


class DocumentFrequencies:
    """How many chunks contain each term, for the chunks of one shard or of a whole release."""

    def __init__(self, n_chunks: int, terms: NDArray[np.uint32], counts: NDArray[np.int64]) -> None:
        self.n_chunks = n_chunks
        self.terms = terms
        """(n_terms,) uint32, ascending: Qdrant's hashes of the terms."""
        self.counts = counts
        """(n_terms,) int64: chunks that contain the term."""

    @classmethod
    def count(cls, vectors: Iterable[SparseVector]) -> "DocumentFrequencies":
        """Count over the sparse vectors of chunks; a term stands at most once in each."""
        indices = [np.asarray(vector.indices, dtype=np.uint32) for vector in vectors]
        joined = np.concatenate(indices) if indices else np.empty(0, np.uint32)
        terms, counts = np.unique(joined, return_counts=True)
        return cls(len(indices), terms, counts.astype(np.int64))

    @classmethod
    def merge(cls, parts: Iterable["DocumentFrequencies"]) -> "DocumentFrequencies":
        """Add up disjoint sets of chunks."""
        held = list(parts)
        if not held:
            return cls(0, np.empty(0, np.uint32), np.empty(0, np.int64))
        terms, positions = np.unique(np.concatenate([part.terms for part in held]), return_inverse=True)
        counts = np.zeros(len(terms), np.int64)
        np.add.at(counts, positions, np.concatenate([part.counts for part in held]))
        return cls(sum(part.n_chunks for part in held), terms, counts)

    def minus(self, part: "DocumentFrequencies") -> "DocumentFrequencies":
        """Take away chunks that were counted before."""
        counts = self.counts.copy()
        counts[np.searchsorted(self.terms, part.terms)] -= part.counts
        kept = counts > 0
        return DocumentFrequencies(self.n_chunks - part.n_chunks, self.terms[kept], counts[kept])

    def save(self, path: Path) -> None:
        """Write to a NumPy archive (no pickled objects)."""
        np.savez(path, n_chunks=np.int64(self.n_chunks), terms=self.terms, counts=self.counts)

    @classmethod
    def load(cls, path: Path) -> "DocumentFrequencies":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            return cls(int(archive["n_chunks"]), archive["terms"], archive["counts"])

    def chunks_with(self, terms: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Give how many chunks contain each of some terms, (n,) in their order."""
        if not len(self.terms) or not len(terms):
            return np.zeros(len(terms), np.int64)
        positions = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        return np.where(self.terms[positions] == terms, self.counts[positions], 0)

    def telling(self, query: SparseVector) -> SparseVector:
        """Keep the rarest of a query's terms, so many that BM25 reads a bounded number of postings for them.

        The commonest terms are nearly all of what it would have to read, and decide little about what is found.
        """
        counts = self.chunks_with(np.asarray(query.indices, dtype=np.uint32))
        rarest = np.argsort(counts, kind="stable")
        n_kept = max(_LEAST_TERMS, int(np.searchsorted(np.cumsum(counts[rarest]), _MAX_POSTINGS, side="right")))
        kept = sorted(rarest[:n_kept].tolist())
        return SparseVector([query.indices[n] for n in kept], [query.values[n] for n in kept])

    def rarity(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give the inverse document frequency of what so many chunks contain.

        ln(1 + (N - n + 0.5) / (n + 0.5)); Source: Robertson & Zaragoza 2009, in the non-negative form of Lucene.
        """
        return np.log1p((self.n_chunks - counts + 0.5) / (counts + 0.5))

    def weigh(self, query: SparseVector) -> SparseVector:
        """Multiply a query's terms by their inverse document frequency.

        Terms that no chunk contains are left out.
        """
        wanted = np.asarray(query.indices, dtype=np.uint32)
        counts = self.chunks_with(wanted)
        known = counts > 0
        values = np.asarray(query.values, dtype=np.float64)[known] * self.rarity(counts[known])
        return SparseVector(wanted[known].tolist(), values.tolist())
