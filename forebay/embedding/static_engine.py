"""The static engine: a table with one vector a token, distilled from the model; no text's words see each other.

For a first pass, or a laptop: many times the texts a second, for a loss that `docs/embedding.md` states.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from forebay.embedding.engine import TokenBatch
from forebay.embedding.tokens import loaded_tokenizer

__all__ = ["StaticEngine"]


class StaticEngine:
    """Averages the vectors of a text's tokens, as model2vec does; see `Engine`.

    Unknown tokens don't count. A text of nothing else has the vector of the unknown token, so that it has one at all.
    """

    def __init__(self, folder: Path) -> None:
        self._table: NDArray[np.float32] = load_file(folder / "model.safetensors")["embeddings"].astype(np.float32)
        self._unknown = _unknown_token(folder)

    @property
    def batch_tokens(self) -> int:
        """See `Engine`; their vectors fit a processor's second cache."""
        return 1024

    def __call__(self, batches: Iterable[TokenBatch]) -> Iterator[NDArray[np.float32]]:
        """Run batches; see `Engine`."""
        for tokens, is_token in batches:
            weights = (is_token * (tokens != self._unknown)).astype(np.float32)
            counts = weights.sum(axis=1, keepdims=True)
            means = np.matmul(weights[:, None, :], self._table[tokens])[:, 0] / np.maximum(counts, 1)
            yield np.where(counts > 0, means, self._table[self._unknown])


def _unknown_token(folder: Path) -> int:
    """Find the id of the unknown token; the first token stands in for it where a tokenizer knows every byte."""
    tokenizer = loaded_tokenizer(folder)
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model.get("unk_id") if "unk_id" in model else tokenizer.token_to_id(model.get("unk_token") or "")
    return unknown or 0
