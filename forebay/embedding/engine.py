"""What runs the model: padded batches of tokens in, pooled vectors out."""

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Engine", "TokenBatch"]

TokenBatch = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ids, (n_texts, longest), padded at the end; and, of the same shape, 1 where a token stands and 0 at padding."""


class Engine(Protocol):
    """Runs a sentence-transformers model, pooling included; not safe for concurrent calls."""

    @property
    def batch_tokens(self) -> int:
        """Padded tokens of a batch that keep it busy."""
        ...

    def __call__(self, batches: Iterable[TokenBatch]) -> Iterator[NDArray[np.float32]]:
        """Run batches one after another; some are taken before the first result is given.

        Yields:
            (n_texts, dim) float32 for each batch in turn, pooled as the model's modules say; normalising is left to
            the caller.
        """
        ...
