"""What runs the model: one padded batch of tokens in, pooled vectors out."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Engine"]


class Engine(Protocol):
    """Runs a sentence-transformers model, pooling included; not safe for concurrent calls."""

    def __call__(self, tokens: NDArray[np.int64], is_token: NDArray[np.int64]) -> NDArray[np.float32]:
        """Run one batch.

        Args:
            tokens: (n_texts, longest) ids, padded at the end.
            is_token: (n_texts, longest), 1 where a token stands and 0 where padding does.

        Returns:
            (n_texts, dim) float32, pooled as the model's modules say; normalising is left to the caller.
        """
        ...
