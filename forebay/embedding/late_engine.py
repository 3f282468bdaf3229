"""The late engine: the torch engine over a window of chunks at once, whose tokens are then pooled chunk by chunk."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forebay.embedding.torch_engine import TorchEngine
from forebay.errors import ModelError

__all__ = ["LateEngine", "PartBatch"]

PartBatch = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Ids and marks of tokens as in `TokenBatch`; and, (n_windows, most_parts, longest), 1 where a token is the part's."""

_PLAIN_MODULES = {"Transformer", "Pooling", "Normalize"}


class LateEngine(TorchEngine):
    """Runs the model with torch, for questions as `TorchEngine` does, for windows with a vector for each part.

    Raises:
        ModelError: the model doesn't pool by the mean of its tokens, or has layers after that.
    """

    def __init__(self, folder: Path, precision: Literal["fp32", "fp16", "bf16"], *, threads: int | None = None) -> None:
        super().__init__(folder, precision, threads=threads)
        modules = {type(module).__name__: module for module in self._model}
        pooling = modules.get("Pooling")
        if pooling is None or pooling.pooling_mode != "mean" or modules.keys() - _PLAIN_MODULES:
            raise ModelError(
                f"late chunking needs a model that takes the mean of its tokens and nothing after it; {folder} is "
                f"made of {', '.join(modules)}. Choose another model, or another engine than 'late'."
            )

    def sums_of_parts(self, batches: Iterable[PartBatch]) -> Iterator[NDArray[np.float32]]:
        """Run batches of windows one after another, and add up the vectors of each part's tokens.

        Yields:
            (n_windows, most_parts, dim) float32 for each batch in turn; the mean's direction, which is what counts.
        """
        return self._fetched(
            self._torch.bmm(self._sent(is_of_part), self._output(tokens, is_token)["token_embeddings"].float())
            for tokens, is_token, is_of_part in batches
        )
