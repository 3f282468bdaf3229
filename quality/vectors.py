"""How well smaller vectors find what whole ones do."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["nearest", "recall_at_k"]

Vectors = NDArray[np.float32]
_BLOCK = 256


def nearest(questions: Vectors, others: Vectors, k: int = 10) -> NDArray[np.int64]:
    """Find the nearest vectors by exact search.

    Args:
        questions: (n_questions, dim) unit rows.
        others: (n, dim) unit rows.
        k: Neighbours of each question.

    Returns:
        (n_questions, min(k, n)) rows of `others`, in no order.
    """
    k = min(k, len(others))
    found = [
        np.argpartition(-(questions[start : start + _BLOCK] @ others.T), k - 1, axis=1)[:, :k]
        for start in range(0, len(questions), _BLOCK)
    ]
    return np.concatenate(found)


def recall_at_k(whole: tuple[Vectors, Vectors], smaller: tuple[Vectors, Vectors], k: int = 10) -> float:
    """Give the share of the true k nearest neighbours that are among those by the smaller vectors.

    Args:
        whole: Questions and others.
        smaller: The same, reduced.
        k: Neighbours.
    """
    pairs = zip(nearest(*whole, k), nearest(*smaller, k), strict=True)
    return float(np.mean([len(np.intersect1d(true, found)) / len(true) for true, found in pairs]))
