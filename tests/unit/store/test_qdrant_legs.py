import pytest

from forebay.store.qdrant_legs import rank


def test_equal_scores_are_ordered_by_id_though_their_last_bits_differ():
    scores = {"b0": 2.0, "b1": 1.0000002, "a0": 1.0000001, "a1": 1.0}
    ranking = rank({"bm25": list(scores.items())}, "rrf", 1.0)
    assert [key for key, _ in ranking.fused] == ["b0", "a0", "a1", "b1"]
    assert ranking.legs == {"bm25": ranking.fused}


def test_relative_scores_make_nothing_of_the_last_bits_of_equal_scores():
    dense = [("x", 0.9), ("y", 0.5)]
    bm25 = [("c", 1.0000002), ("a", 1.0000001), ("b", 1.0)]
    ranking = rank({"dense": dense, "bm25": bm25}, "relative_score", 10.0)
    # Each has the leg's whole weight, and their ids decide.
    assert [key for key, _ in ranking.fused] == ["a", "b", "c", "x", "y"]
    assert [score for _, score in ranking.fused] == pytest.approx([7.0, 7.0, 7.0, 1.0, 0.0])
    assert ranking.legs["bm25"] == [bm25[1], bm25[2], bm25[0]]


def test_a_leg_alone_keeps_its_scores_to_the_last_bit_with_either_fusion():
    scores = [("a", 1.0000002), ("b", 1.0000001), ("c", 0.5)]
    for fusion in ("rrf", "relative_score"):
        assert rank({"bm25": scores}, fusion, 1.0).fused == scores
