from forebay.store.qdrant_legs import rank


def test_equal_scores_are_ordered_by_id_though_their_last_bits_differ():
    scores = {"b0": 2.0, "b1": 1.0000002, "a0": 1.0000001, "a1": 1.0}
    ranking = rank({"bm25": list(scores.items())}, 1.0)
    assert [key for key, _ in ranking.fused] == ["b0", "a0", "a1", "b1"]
    assert ranking.legs == {"bm25": ranking.fused}
