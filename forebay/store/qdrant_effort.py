"""How thoroughly the graphs of a release's shards are walked for one search."""

from math import ceil

from qdrant_edge import QuantizationSearchParams, SearchParams

from forebay.settings import IndexSettings

__all__ = ["SCANNED_SHARE", "search_params"]

SCANNED_SHARE = 1 / 3
"""Where a filter leaves a smaller part of a shard, that is compared one by one: sooner than the graph is walked, whose
ways to it lead over others, and without loss (docs/retrieval.md)."""

# Candidates by the quantized vectors that the original ones rescore, for one that is wanted (`make bench-vectors`).
_OVERSAMPLING = {"int8": 2.0, "binary": 6.0, "product": 4.0, "none": 1.0}
# Nodes that the walk of a shard alone keeps, for one that is wanted.
_WALKED = 3


def search_params(limit: int, settings: IndexSettings, shards: int = 1, share: float = 1.0) -> SearchParams:
    """Say how the dense leg is asked.

    Each shard gives its own best `limit`, and the best of all come of those, so the more shards, the less each has to
    do beyond that. A filter takes nodes out of the graph's ways: to find as much, a walk needs about 1 / share^2 of the
    candidates (docs/retrieval.md has the figures).

    Args:
        limit: Chunks that are wanted.
        settings: Of the index.
        shards: Shards of the release.
        share: Part of the chunks that the filter leaves, 0 to 1.
    """
    oversampling = max(1.0, _OVERSAMPLING[settings.quantization] / shards)
    ef = max(limit, _WALKED * limit // shards) / max(SCANNED_SHARE, share) ** 2
    return SearchParams(
        hnsw_ef=ceil(ef), quantization=QuantizationSearchParams(rescore=True, oversampling=oversampling)
    )
