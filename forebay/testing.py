"""Public fakes for tests of code that uses Forebay; they stand only where a model would."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import EmbeddingError

__all__ = ["HashEmbedder"]


class HashEmbedder:
    """An `Embedder` without a model: texts that share words get near vectors, equally on every machine."""

    def __init__(self, dim: int = 64) -> None:
        self._spec = EmbeddingSpec(
            model="fake:hash", revision="1", dim=dim, max_tokens=512, precision="fp32", engine="hash"
        )

    @property
    def spec(self) -> EmbeddingSpec:
        """Identity of the vectors that this embedder makes."""
        return self._spec

    def count_tokens(self, text: str) -> int:
        """Count the words of `text`."""
        return len(text.split())

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Add up a fixed pseudo-random vector per word.

        Returns:
            (n_texts, dim) float32, rows L2-normalised.

        Raises:
            EmbeddingError: a text has no words.
        """
        vectors = np.zeros((len(texts), self._spec.dim), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
                vectors[row] += np.random.default_rng(seed).standard_normal(self._spec.dim, dtype=np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not norms.all():
            raise EmbeddingError("a text without words has no vector.", np.flatnonzero(norms[:, 0] == 0).tolist())
        return vectors / norms

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions; the same as `embed_documents`."""
        return self.embed_documents(texts)
