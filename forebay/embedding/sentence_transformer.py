"""The sentence-transformers engine: tokenize, batch by token budget, pool, normalise."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forebay.embedding.batching import token_budget_batches
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import EmbeddingError
from forebay.machine import embeds_faster_in_bf16
from forebay.models import folder_checksum, model_folder
from forebay.settings import EmbeddingSettings, PathSettings

__all__ = ["SentenceTransformerEmbedder", "load_embedder", "resolve_spec"]


class SentenceTransformerEmbedder:
    """A sentence-transformers model behind the `Embedder` contract."""

    def __init__(self, spec: EmbeddingSpec, folder: Path, *, batch_tokens: int = 8192) -> None:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        self._torch = torch
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        self._model.eval()
        self._tokenizer: Any = self._model.tokenizer
        self._batch_tokens = batch_tokens
        self._spec = spec

    @property
    def spec(self) -> EmbeddingSpec:
        """Identity of the vectors that this embedder makes."""
        return self._spec

    def count_tokens(self, text: str) -> int:
        """Count the model's own tokens in `text`, special tokens left out."""
        return len(self._tokenizer.encode(text, add_special_tokens=False, truncation=False, verbose=False))

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages; see `Embedder.embed_documents`."""
        return self._embed(texts)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions; see `Embedder.embed_queries`."""
        return self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        torch = self._torch
        vectors = np.empty((len(texts), self._spec.dim), dtype=np.float32)
        if not texts:
            return vectors
        # Rust tokenizers refuse lone surrogates; a replacement character embeds as an unknown token.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        encoded = self._tokenizer(clean, truncation=True, max_length=self._spec.max_tokens)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        bf16 = torch.autocast(self._model.device.type, torch.bfloat16, enabled=self._spec.precision == "bf16")
        with torch.inference_mode(), bf16:
            for batch in token_budget_batches(lengths, self._batch_tokens):
                rows = {key: [values[i] for i in batch] for key, values in encoded.items()}
                padded = self._tokenizer.pad(rows, return_tensors="pt").to(self._model.device)
                pooled = self._model(dict(padded))["sentence_embedding"].float()
                vectors[batch] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        broken = ~np.isclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)
        if broken.any():
            raise EmbeddingError(
                f"{int(broken.sum())} of {len(texts)} vectors are not finite unit vectors, the first for the text "
                f"{texts[int(broken.argmax())][:80]!r}. The model {self._spec.model!r} is broken or was changed."
            )
        return vectors


def resolve_spec(settings: EmbeddingSettings, paths: PathSettings) -> EmbeddingSpec:
    """Read the identity of the configured model from its files, without loading torch.

    Raises:
        ModelError: the model is not there or its files don't match their checksums.
    """
    import json

    folder = model_folder(settings.model, paths.models)
    sentence = json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))
    transformer = json.loads((folder / "config.json").read_text("utf-8"))
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if embeds_faster_in_bf16() else "fp32"
    return EmbeddingSpec(
        model=settings.model,
        revision=folder_checksum(folder),
        dim=int(transformer["hidden_size"]),
        max_tokens=int(sentence["max_seq_length"]),
        precision=precision,
    )


@lru_cache(maxsize=2)
def load_embedder(spec: EmbeddingSpec, models: Path, batch_tokens: int = 8192) -> SentenceTransformerEmbedder:
    """Load the model of a spec, once per process.

    Raises:
        ModelError: the model is not there.
        SpecMismatchError: the model's files are not those that the spec was made with.
    """
    folder = model_folder(spec.model, models)
    spec.require(spec.model_copy(update={"revision": folder_checksum(folder)}))
    return SentenceTransformerEmbedder(spec, folder, batch_tokens=batch_tokens)
