from types import SimpleNamespace

from forebay.store.qdrant_legs import cut_short, rank, share_of


def _answer(*scores, prefix=""):
    return [SimpleNamespace(id=f"{prefix}{number}", score=score) for number, score in enumerate(scores)]


def test_a_shard_alone_is_asked_for_everything():
    assert share_of(50, 1) == 50


def test_a_share_grows_with_the_limit_and_never_beyond_it():
    assert [share_of(50, 8), share_of(100, 8), share_of(10, 8)] == [14, 23, 5]


def test_a_shard_is_cut_short_where_its_last_is_among_the_best():
    good, middling, short = _answer(9, 8, 7), _answer(6, 5, 1), _answer(4)
    assert cut_short([good, middling, short], 3, 5) == [0]
    # Too few altogether: whoever gave its whole share may have more.
    assert cut_short([good, middling, short], 3, 8) == [0, 1]
    assert cut_short([good, middling, short], 3, 3) == []


def test_equal_scores_are_ordered_by_id_though_their_last_bits_differ():
    answers = [_answer(2.0, 1.0000002, prefix="b"), _answer(1.0000001, 1.0, prefix="a")]
    ranking = rank({"bm25": answers}, 3, 1.0)
    assert [key for key, _ in ranking.fused] == ["b0", "a0", "a1"]
    assert ranking.legs == {"bm25": ranking.fused}
    assert ranking.shard_of == {"b0": 0, "a0": 1, "a1": 1}
