import pytest

from quality.suites.index import INDEX_CHECKS, check_index


@pytest.mark.parametrize(("indexed", "passed"), [(3, True), (2, False), (4, False)])
def test_shards_hold_exactly_the_chunks_of_the_table(indexed, passed):
    (outcome,) = check_index(chunks=3, indexed=indexed)
    assert (outcome.name,) == INDEX_CHECKS
    assert outcome.passed is passed
    assert outcome.metadata == {"chunks": 3, "indexed": indexed}
