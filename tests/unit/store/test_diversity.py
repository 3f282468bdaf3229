import numpy as np
import pytest

from forebay.store.diversity import diversify

# The first two say the same, the third something else.
_VECTORS = np.array([[1, 0], [1, 0], [0, 2]], np.float32)
_SCORES = np.array([0.9, 0.8, 0.7])


def test_without_diversity_the_scores_decide():
    assert diversify(_SCORES, _VECTORS, 3, 0.0) == [0, 1, 2]


def test_what_says_the_same_comes_later():
    # Relevances 1, 0.5, 0; after the first, 0.5 * 0.5 - 0.5 * 1 = -0.25 against 0.5 * 0 - 0.5 * 0 = 0.
    assert diversify(_SCORES, _VECTORS, 3, 0.5) == [0, 2, 1]
    # 0.9 * 0.5 - 0.1 * 1 = 0.35 against 0.
    assert diversify(_SCORES, _VECTORS, 3, 0.1) == [0, 1, 2]


def test_only_what_is_wanted_is_chosen():
    assert diversify(_SCORES, _VECTORS, 2, 1.0) == [0, 2]
    assert diversify(_SCORES, _VECTORS, 1, 1.0) == [0]
    assert diversify(np.empty(0), np.empty((0, 2), np.float32), 5, 0.5) == []


def test_equal_scores_and_a_vector_of_no_length_are_no_trouble():
    vectors = np.array([[0, 0], [1, 0], [1, 0]], np.float32)
    assert diversify(np.zeros(3), vectors, 3, 0.5) == [0, 1, 2]


@pytest.mark.parametrize("diversity", [0.3, 0.7])
def test_it_is_the_formula_of_the_paper(diversity):
    generator = np.random.default_rng(7)
    vectors = generator.standard_normal((30, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.sort(generator.random(30))[::-1]
    scores = (scores - scores[-1]) / (scores[0] - scores[-1])
    expected = [0]
    while len(expected) < 10:
        left = [n for n in range(30) if n not in expected]
        worth = {
            n: (1 - diversity) * scores[n] - diversity * max(vectors[n] @ vectors[m] for m in expected) for n in left
        }
        expected.append(max(left, key=worth.__getitem__))
    assert diversify(scores, vectors, 10, diversity) == expected
