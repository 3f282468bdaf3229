from hypothesis import given
from hypothesis import strategies as st

from forebay.embedding.batching import token_budget_batches


@given(st.lists(st.integers(0, 300), max_size=80), st.integers(1, 1000))
def test_every_item_is_in_one_batch_within_the_budget(lengths, budget):
    batches = list(token_budget_batches(lengths, budget))
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(1, *(lengths[position] for position in batch))
        assert len(batch) == 1 or len(batch) * longest <= budget


def test_similar_lengths_go_together():
    assert list(token_budget_batches([1, 100, 2, 99], 200)) == [[1, 3], [2, 0]]
