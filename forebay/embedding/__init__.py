"""Turning text into vectors: the contract, the model's identity, and the sentence-transformers engine."""

from forebay.embedding.contract import Embedder
from forebay.embedding.spec import EmbeddingSpec

__all__ = ["Embedder", "EmbeddingSpec"]
