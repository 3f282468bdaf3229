import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.store.fusion import BM25_WEIGHTS, fuse, reciprocal_rank_fusion, relative_score_fusion

# Whole numbers, so that what is equal stays equal when it is moved and stretched.
_LEG = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-1000, 1000)).map(
    lambda scores: sorted(scores.items(), key=lambda item: -item[1])
)
_LEGS = st.tuples(_LEG, _LEG)
_WEIGHTS = st.tuples(st.floats(0.1, 10), st.floats(0.1, 10))


def test_scores_are_the_sum_of_reciprocal_ranks():
    fused = dict(reciprocal_rank_fusion([["a", "b"], ["b", "c"]], k=60))
    assert fused["a"] == pytest.approx(1 / 61)
    assert fused["b"] == pytest.approx(1 / 62 + 1 / 61)
    assert fused["c"] == pytest.approx(1 / 62)


def test_a_key_in_both_rankings_beats_the_first_of_one():
    assert [key for key, _ in reciprocal_rank_fusion([["a", "b"], ["c", "b"]])] == ["b", "a", "c"]


def test_no_rankings_give_nothing():
    assert reciprocal_rank_fusion([]) == []


def test_a_ranking_counts_by_its_weight():
    fused = reciprocal_rank_fusion([["a", "b"], ["c", "b"]], weights=[1, 4])
    assert [key for key, _ in fused] == ["b", "c", "a"]
    assert [score for _, score in fused] == pytest.approx([1 / 62 + 4 / 62, 4 / 61, 1 / 61])


def test_relative_scores_are_shares_of_each_legs_range():
    dense = [("a", 0.9), ("b", 0.8), ("c", 0.5)]
    bm25 = [("c", 12.0), ("d", 6.0), ("a", 2.0)]
    fused = relative_score_fusion([dense, bm25], [1.0, 2.0])
    assert [key for key, _ in fused] == ["c", "a", "d", "b"]
    # c is the last of one leg, which counts as nothing, and the first of the other; a the other way round.
    assert [score for _, score in fused] == pytest.approx([2.0, 1.0, 0.8, 0.75])


@pytest.mark.parametrize(
    ("legs", "expected"),
    [
        ([[("a", -3.5)], [("b", 7.0)]], {"a": 1.0, "b": 2.0}),
        ([[("b", 0.4), ("a", 0.4)], [("a", 0.0), ("c", 0.0)]], {"b": 1.0, "a": 3.0, "c": 2.0}),
        ([[], [("a", 3.0), ("b", 1.0)]], {"a": 2.0, "b": 0.0}),
        ([[], []], {}),
    ],
    ids=["one candidate", "equal scores", "a leg without candidates", "nothing"],
)
def test_in_a_leg_without_a_range_everything_counts_as_its_weight_and_an_empty_one_as_nothing(legs, expected):
    assert dict(relative_score_fusion(legs, [1.0, 2.0])) == expected


def test_equal_relative_scores_keep_the_order_of_first_appearance():
    fused = relative_score_fusion([[("b", 2.0), ("x", 1.0)], [("a", 9.0), ("y", 4.0)]], [1.0, 1.0])
    assert fused == [("b", 1.0), ("a", 1.0), ("x", 0.0), ("y", 0.0)]


def _shares(leg):
    """Minimum and maximum as numpy has them."""
    scores = np.array([score for _, score in leg], float)
    return dict(zip([key for key, _ in leg], np.interp(scores, [scores.min(), scores.max()], [0, 1]), strict=True))


@given(_LEGS, _WEIGHTS)
def test_relative_scores_are_those_of_an_independent_computation_best_first(legs, weights):
    fused = relative_score_fusion(legs, weights)
    shares = [_shares(leg) if leg else {} for leg in legs]
    found = {key for leg in legs for key, _ in leg}
    expected = {key: sum(w * share.get(key, 0) for w, share in zip(weights, shares, strict=True)) for key in found}
    assert dict(fused) == pytest.approx(expected)
    assert [score for _, score in fused] == sorted((score for _, score in fused), reverse=True)


@given(_LEGS, _WEIGHTS, st.integers(1, 50), st.integers(-500, 500))
def test_relative_scores_do_not_depend_on_a_legs_unit_and_zero(legs, weights, factor, offset):
    moved = [legs[0], [(key, factor * score + offset) for key, score in legs[1]]]
    assert dict(relative_score_fusion(moved, weights)) == pytest.approx(dict(relative_score_fusion(legs, weights)))


@given(_LEGS, _WEIGHTS, st.floats(0.1, 10))
def test_relative_scores_scale_with_the_weights(legs, weights, factor):
    scaled = dict(relative_score_fusion(legs, [factor * weight for weight in weights]))
    plain = dict(relative_score_fusion(legs, weights))
    assert scaled == pytest.approx({key: factor * score for key, score in plain.items()})


@pytest.mark.parametrize("fusion", ["rrf", "relative_score"])
def test_a_leg_alone_keeps_its_scores(fusion):
    leg = [("a", 12.5), ("b", 3.0)]
    assert fuse([leg], fusion, 5.0) == leg
    assert list(fuse([], fusion)) == []


def test_the_words_weigh_by_the_fusion_and_by_the_wording(monkeypatch):
    monkeypatch.setitem(BM25_WEIGHTS, "rrf", 0.5)
    monkeypatch.setitem(BM25_WEIGHTS, "relative_score", 0.25)
    legs = [[("a", 0.9), ("b", 0.1)], [("b", 7.0), ("a", 5.0)]]
    assert dict(fuse(legs, "rrf", 3.0)) == pytest.approx({"a": 1 / 61 + 1.5 / 62, "b": 1 / 62 + 1.5 / 61})
    assert dict(fuse(legs, "relative_score", 3.0)) == pytest.approx({"a": 1.0, "b": 0.75})
    assert dict(fuse(legs, "relative_score")) == pytest.approx({"a": 1.0, "b": 0.25})
