"""Maximal marginal relevance: hits that are near to the question and not near to each other.

Source: Carbonell & Goldstein, SIGIR 1998.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["diversify"]


def diversify(scores: NDArray[np.float64], vectors: NDArray[np.float32], count: int, diversity: float) -> list[int]:
    """Choose passages one by one: each has the best score, less its similarity to the nearest one chosen before.

    Args:
        scores: (n,) float64, of any range; the lowest counts as 0 and the best as 1.
        vectors: (n, dim) float32, of any length.
        count: Passages wanted.
        diversity: From 0, only the scores count, to 1, only the similarity does (1 - lambda in the paper).

    Returns:
        At most `count` positions in the order of their choice; of equal ones the first.
    """
    if not len(scores):
        return []
    relevance = (scores - scores.min()) / (np.ptp(scores) or 1.0)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    chosen = [int(relevance.argmax())]
    nearest = units @ units[chosen[0]]
    while len(chosen) < min(count, len(scores)):
        marginal = (1 - diversity) * relevance - diversity * nearest
        marginal[chosen] = -np.inf
        chosen.append(int(marginal.argmax()))
        nearest = np.maximum(nearest, units @ units[chosen[-1]])
    return chosen
