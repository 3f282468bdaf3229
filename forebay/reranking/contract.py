"""What a reranker is asked and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from forebay.store.contract import Hit

__all__ = ["EncodedPair", "PairScorer", "RerankStatus", "Reranked"]

EncodedPair = Mapping[str, Sequence[int]]
"""A question and a passage as the model's tokens: `input_ids` and what else it takes, not padded."""


class RerankStatus(StrEnum):
    """What became of one search's reranking."""

    OFF = "off"
    """None is set, the request said no, or the search is of a kind that isn't reranked."""
    DONE = "done"
    """The hits come in the reranker's order."""
    OVER_BUDGET = "over_budget"
    """It would have taken too long; the hits come in the search's own order."""
    FAILED = "failed"
    """The model broke; likewise."""
    UNAVAILABLE = "unavailable"
    """The model could not be loaded; likewise."""


@dataclass(frozen=True)
class Reranked:
    """One search's hits after reranking."""

    hits: Sequence[Hit]
    """Best first; without a `rerank_score`, and in the order that they came in, unless `status` is `done`."""
    status: RerankStatus
    """What became of it."""
    needed_s: float = 0.0
    """Where it was over budget: what was still to be done would have taken about this long."""


class PairScorer(Protocol):
    """A model that reads a question and a passage together; not safe for concurrent calls."""

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[EncodedPair]:
        """Tokenize (question, passage) pairs, cut to the model's length."""
        ...

    def score(self, batch: Sequence[EncodedPair]) -> NDArray[np.float32]:
        """Score a batch, padded to its longest pair.

        Returns:
            (n_pairs,) float32, higher is nearer; not finite where the model is broken.
        """
        ...
