"""Vector stores: the contract, metadata filters, fusion, and the embedded Qdrant Edge store."""

from forebay.store.access import EVERYTHING, PUBLIC, Caller
from forebay.store.contract import Hit, OpenRelease, SearchMode, SearchRequest, ShardRef, VectorStore

__all__ = [
    "EVERYTHING",
    "PUBLIC",
    "Caller",
    "Hit",
    "OpenRelease",
    "SearchMode",
    "SearchRequest",
    "ShardRef",
    "VectorStore",
]
