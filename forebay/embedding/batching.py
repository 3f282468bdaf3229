"""Batches of similar length under a budget of padded tokens."""

from collections.abc import Iterator, Sequence

__all__ = ["token_budget_batches"]


def token_budget_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Group items so that each padded batch stays within a token budget.

    Args:
        lengths: Tokens of each item.
        batch_tokens: Most padded tokens (items x longest item) in a batch; an item longer than it goes alone.

    Yields:
        Positions into `lengths`, longest items first, so that the first batch shows the peak of memory.
    """
    order = sorted(range(len(lengths)), key=lambda position: (-lengths[position], position))
    batch: list[int] = []
    longest = 0
    for position in order:
        if batch and (len(batch) + 1) * longest > batch_tokens:
            yield batch
            batch = []
        if not batch:
            longest = max(lengths[position], 1)
        batch.append(position)
    if batch:
        yield batch
