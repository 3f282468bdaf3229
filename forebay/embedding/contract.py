"""What every embedding engine offers to Spark tasks and to the retriever."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from forebay.embedding.spec import EmbeddingSpec

__all__ = ["Embedder"]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors; one instance per process, not safe for concurrent calls."""

    @property
    def spec(self) -> EmbeddingSpec:
        """Identity of the vectors that this embedder makes."""
        ...

    def count_tokens(self, text: str) -> int:
        """Count the model's own tokens in `text`, special tokens left out."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages.

        Returns:
            (n_texts, dim) float32, rows L2-normalised, in the order of `texts`.

        Raises:
            EmbeddingError: a vector is not finite or has no length; its `broken` says which.
        """
        ...

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions; the same shape and promises as `embed_documents`."""
        ...
