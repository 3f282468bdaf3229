"""Reranking: a cross-encoder reads each of the first hits beside the question, and orders them anew."""

from forebay.reranking.contract import Reranked, RerankStatus
from forebay.reranking.reranker import Reranker, is_reranked

__all__ = ["RerankStatus", "Reranked", "Reranker", "is_reranked"]
