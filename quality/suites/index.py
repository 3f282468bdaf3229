"""What must be true of the shards of a run."""

from collections.abc import Mapping

from quality.validate import CheckOutcome

__all__ = ["INDEX_CHECKS", "check_index"]

INDEX_CHECKS = ("shards_hold_every_chunk", "index_finds_what_exact_search_finds")
"""Names of the checks that `check_index` gives."""


def check_index(
    *, chunks: int, indexed: int, recalls: Mapping[str, float], min_recall: float = 0.0
) -> list[CheckOutcome]:
    """Compare the shards with the table that they were built from, and their index with exact search.

    Args:
        chunks: Published chunks of the run's shards.
        indexed: Chunks that the run's shards hold.
        recalls: recall@10 against exact search by shard, of those where it was measured.
        min_recall: Least recall@10 that each of them must have.
    """
    whole, near = INDEX_CHECKS
    low = {shard: recall for shard, recall in recalls.items() if recall < min_recall}
    found: dict[str, object] = {"shards": len(recalls), "min_recall10": min_recall}
    if recalls:
        found |= {"lowest": min(recalls.values()), "mean": round(sum(recalls.values()) / len(recalls), 4)}
    if low:
        found |= {"below": low, "what_to_do": "raise FOREBAY_INDEX_HNSW_M or FOREBAY_INDEX_HNSW_EF_CONSTRUCT"}
    return [
        CheckOutcome(whole, indexed == chunks, {"chunks": chunks, "indexed": indexed}),
        CheckOutcome(near, not low, found),
    ]
