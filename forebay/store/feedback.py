"""Pseudo-relevance feedback: what a question found is ordered anew, by the question moved towards its first passages.

Rocchio's formula without the negative part; Source: Manning, Raghavan & Schuetze, Introduction to Information
Retrieval (2008), chapter 9. For the dense leg vectors are added, for BM25 the terms that weigh most in the passages.
"""

import numpy as np
from numpy.typing import NDArray
from qdrant_edge import SparseVector

__all__ = ["FEEDBACK_HITS", "expanded_terms", "moved_vector"]

FEEDBACK_HITS = 5
"""First hits that the question is moved towards. This and the weights are tuned on every other question of
`samples/cranfield`, and `make bench-quality` reports the rest."""
_VECTOR_WEIGHT = 1.0
_TERMS_WEIGHT = 0.6
_TERMS = 20


def moved_vector(question: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move a question towards the mean of what it found.

    Args:
        question: (dim,) float32.
        found: (n, dim) float32 unit vectors, n >= 1.

    Returns:
        (dim,) float32 unit vector.
    """
    moved = _unit(question) + _VECTOR_WEIGHT * found.mean(axis=0)
    return _unit(moved).astype(np.float32)


def expanded_terms(question: SparseVector, found: SparseVector) -> SparseVector:
    """Add the terms that weigh most, on average, in what a question found.

    Args:
        question: The question's terms, multiplied by their inverse document frequency, at least one.
        found: The passages' terms one after the other, likewise.
    """
    terms, positions = np.unique(np.asarray(found.indices, np.uint32), return_inverse=True)
    weights = np.zeros(len(terms))
    np.add.at(weights, positions, np.asarray(found.values, np.float64))
    heaviest = np.argsort(-weights, kind="stable")[:_TERMS]
    asked = dict(zip(question.indices, _unit(np.asarray(question.values, np.float64)).tolist(), strict=True))
    added = (_TERMS_WEIGHT * _unit(weights[heaviest])).tolist()
    for term, weight in zip(terms[heaviest].tolist(), added, strict=True):
        asked[term] = asked.get(term, 0.0) + weight
    return SparseVector(list(asked), list(asked.values()))


def _unit(values: NDArray[np.floating]) -> NDArray[np.floating]:
    length = float(np.linalg.norm(values))
    return values / length if length else values
