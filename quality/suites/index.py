"""What must be true of the shards of a run."""

from quality.validate import CheckOutcome

__all__ = ["INDEX_CHECKS", "check_index"]

INDEX_CHECKS = ("shards_hold_every_chunk",)
"""Names of the checks that `check_index` gives."""


def check_index(*, chunks: int, indexed: int) -> list[CheckOutcome]:
    """Compare the shards with the table that they were built from.

    Args:
        chunks: Published chunks of the run's shards.
        indexed: Chunks that the run's shards hold.
    """
    return [CheckOutcome(INDEX_CHECKS[0], indexed == chunks, {"chunks": chunks, "indexed": indexed})]
