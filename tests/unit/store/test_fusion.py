import pytest

from forebay.store.fusion import reciprocal_rank_fusion


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
