import pytest

from quality.suites.index import INDEX_CHECKS, check_index


@pytest.mark.parametrize(("indexed", "passed"), [(3, True), (2, False), (4, False)])
def test_shards_hold_exactly_the_chunks_of_the_table(indexed, passed):
    outcomes = check_index(chunks=3, indexed=indexed, recalls={})
    assert tuple(outcome.name for outcome in outcomes) == INDEX_CHECKS
    assert [outcome.passed for outcome in outcomes] == [passed, True]
    assert outcomes[0].metadata == {"chunks": 3, "indexed": indexed}


def test_a_shard_whose_index_finds_too_little_is_named():
    (_, outcome) = check_index(chunks=3, indexed=3, recalls={"s000": 0.99, "s001": 0.85}, min_recall=0.9)
    assert not outcome.passed
    assert outcome.metadata["below"] == {"s001": 0.85}
    assert (outcome.metadata["lowest"], outcome.metadata["mean"]) == (0.85, 0.92)
    assert "FOREBAY_INDEX_HNSW_M" in outcome.metadata["what_to_do"]


def test_shards_without_a_figure_pass():
    (_, outcome) = check_index(chunks=3, indexed=3, recalls={}, min_recall=0.9)
    assert outcome.passed
