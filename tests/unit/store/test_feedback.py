import numpy as np
import pytest
from qdrant_edge import SparseVector

from forebay.store.feedback import expanded_terms, moved_vector


def test_a_question_is_moved_towards_the_mean_of_what_it_found():
    found = np.array([[0, 1], [1, 0]], np.float32)
    # (1, 0) + (0.5, 0.5) = (1.5, 0.5), of length sqrt(2.5)
    moved = moved_vector(np.array([1, 0], np.float32), found)
    assert moved == pytest.approx([1.5 / 2.5**0.5, 0.5 / 2.5**0.5])
    assert moved.dtype == np.float32


def test_a_question_of_any_length_moves_alike():
    found = np.array([[0.6, 0.8]], np.float32)
    assert moved_vector(np.array([3, 0], np.float32), found) == pytest.approx(
        moved_vector(np.array([1, 0], np.float32), found)
    )


def test_terms_of_the_passages_are_added_by_their_mean_weight():
    # The means are 2 for term 1 and 1.5 for term 7; unit vectors: (0.8, 0.6). The question's own is 1 for term 1.
    terms = expanded_terms(SparseVector([1], [5.0]), SparseVector([1, 7, 7], [4.0, 1.0, 2.0]))
    assert dict(zip(terms.indices, terms.values, strict=True)) == pytest.approx({1: 1 + 0.6 * 0.8, 7: 0.6 * 0.6})


def test_only_the_twenty_heaviest_terms_are_added():
    passage = SparseVector(list(range(100, 130)), [float(weight) for weight in range(1, 31)])
    terms = expanded_terms(SparseVector([1], [1.0]), passage)
    assert sorted(terms.indices) == [1, *range(110, 130)]


def test_a_passage_without_known_terms_changes_no_term():
    terms = expanded_terms(SparseVector([1, 2], [3.0, 4.0]), SparseVector([], []))
    assert dict(zip(terms.indices, terms.values, strict=True)) == pytest.approx({1: 0.6, 2: 0.8})
