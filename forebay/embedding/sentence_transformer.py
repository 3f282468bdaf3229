"""sentence-transformers models behind the `Embedder` contract: tokenize, batch, run on an engine, normalise."""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from tokenizers import Encoding, Tokenizer

from forebay.embedding.batching import token_budget_batches
from forebay.embedding.distillation import distilled_model
from forebay.embedding.engine import Engine, TokenBatch
from forebay.embedding.late_engine import LateEngine
from forebay.embedding.openvino_engine import OpenVinoEngine, exported_model, quantized_model
from forebay.embedding.spec import EmbeddingSpec
from forebay.embedding.static_engine import StaticEngine
from forebay.embedding.tokens import TokenCounter, loaded_tokenizer
from forebay.embedding.torch_engine import TorchEngine
from forebay.errors import EmbeddingError, ModelError
from forebay.models import folder_checksum, model_folder

__all__ = [
    "PRECISIONS",
    "SentenceTransformerEmbedder",
    "arithmetic_error",
    "encodable",
    "engine_of",
    "load_embedder",
    "spec_folder",
]

PRECISIONS = {
    "torch": ("fp32", "fp16", "bf16"),
    "late": ("fp32", "fp16", "bf16"),
    "openvino": ("fp32", "bf16", "int8"),
    "static": ("fp32",),
}
"""What each engine computes in."""

_WINDOW_TEXTS = 1024


class SentenceTransformerEmbedder:
    """A sentence-transformers model behind the `Embedder` contract."""

    def __init__(self, spec: EmbeddingSpec, folder: Path, engine: Engine, *, batch_tokens: int | None = None) -> None:
        self._engine = engine
        self._tokenizer: Tokenizer = loaded_tokenizer(folder)
        self._tokenizer.enable_truncation(spec.max_tokens)
        self._count_tokens = TokenCounter.of(folder)
        self._batch_tokens = batch_tokens or engine.batch_tokens
        self._spec = spec

    @property
    def spec(self) -> EmbeddingSpec:
        """Identity of the vectors that this embedder makes."""
        return self._spec

    def count_tokens(self, text: str) -> int:
        """Count the model's own tokens in `text`, special tokens left out."""
        return self._count_tokens(encodable(text))

    def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages; see `Embedder.embed_documents`."""
        return self._embed(texts)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions; see `Embedder.embed_queries`."""
        return self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        pooled = np.zeros((len(texts), self._spec.dim), dtype=np.float32)
        under_way: deque[NDArray[np.int64]] = deque()
        for vectors in self._engine(self._batches(texts, under_way)):
            pooled[under_way.popleft()] = vectors
        norms = np.linalg.norm(pooled, axis=1, keepdims=True)
        broken = np.flatnonzero(~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)))
        if broken.size:
            raise EmbeddingError(
                f"{broken.size} of {len(texts)} texts have no vector (not finite, or zero), the first "
                f"{texts[broken[0]][:80]!r}. The model {self._spec.model!r} is broken or was changed.",
                broken.tolist(),
            )
        return pooled / norms

    def _batches(self, texts: Sequence[str], positions: deque[NDArray[np.int64]]) -> Iterator[TokenBatch]:
        """Give padded batches, and append to `positions` which texts each holds."""
        for first, encodings in self._encoded([encodable(text) for text in texts]):
            lengths = [len(encoding) for encoding in encodings]
            for batch in token_budget_batches(lengths, self._batch_tokens):
                positions.append(first + np.array(batch))
                yield _padded([encodings[position] for position in batch])

    def _encoded(self, texts: Sequence[str]) -> Iterator[tuple[int, list[Encoding]]]:
        """Tokenize window after window; the next ones while the caller computes."""
        starts = range(0, len(texts), _WINDOW_TEXTS)
        windows = [texts[start : start + _WINDOW_TEXTS] for start in starts]
        if len(windows) == 1:
            yield 0, self._tokenizer.encode_batch_fast(windows[0])
            return
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenizing") as ahead:
            yield from zip(starts, ahead.map(self._tokenizer.encode_batch_fast, windows), strict=True)


def encodable(text: str) -> str:
    """Give a text as the tokenizer takes it."""
    # Rust tokenizers refuse lone surrogates; a replacement character embeds as an unknown token.
    return text.encode("utf-8", "replace").decode("utf-8")


def _padded(encodings: Sequence[Encoding]) -> TokenBatch:
    longest = max(len(encoding) for encoding in encodings)
    # What stands where there is no token is never looked at.
    tokens = np.zeros((len(encodings), longest), dtype=np.int64)
    is_token = np.zeros((len(encodings), longest), dtype=np.int64)
    for row, encoding in enumerate(encodings):
        tokens[row, : len(encoding)] = encoding.ids
        is_token[row, : len(encoding)] = 1
    return tokens, is_token


def engine_of(spec: EmbeddingSpec, folder: Path, models: Path, *, threads: int | None = None) -> Engine:
    """Start the engine that a spec names.

    Args:
        spec: Names engine and precision.
        folder: The model's files.
        models: The model cache, which holds what engines make of a model.
        threads: Threads that compute; all cores if None.

    Raises:
        ModelError: the engine isn't known or not installed, or doesn't compute in this precision, or the model's files
            are missing or damaged.
    """
    match spec.engine, spec.precision:
        case "torch", "fp32" | "fp16" | "bf16" as precision:
            with _readable(folder):
                return TorchEngine(folder, precision, threads=threads)
        case "late", "fp32" | "fp16" | "bf16" as precision:
            with _readable(folder):
                return LateEngine(folder, precision, threads=threads)
        case "openvino", "fp32" | "bf16" | "int8" as precision:
            try:
                with _readable(folder):
                    graph = exported_model(folder, spec.revision, models / "exports")
                    graph = quantized_model(graph) if precision == "int8" else graph
                return OpenVinoEngine(graph, precision, threads=threads)
            except ModuleNotFoundError as exc:
                raise ModelError("the engine 'openvino' is not installed; install the extra `embedding-cpu`.") from exc
        case "static", "fp32":
            return StaticEngine(folder)
        case _:
            raise arithmetic_error(spec.engine, spec.precision)


def arithmetic_error(engine: str, precision: str) -> ModelError:
    """Say that an engine doesn't compute in a precision, and what there is."""
    known = "; ".join(f"{name} with {', '.join(precisions)}" for name, precisions in PRECISIONS.items())
    return ModelError(f"the engine {engine!r} doesn't compute in {precision!r}; there are: {known}.")


@contextmanager
def _readable(folder: Path) -> Generator[None]:
    try:
        yield
    except (OSError, ValueError, SafetensorError) as exc:
        raise ModelError(
            f"the model in {folder} can't be loaded ({exc}). Check that its files are whole, and of a kind that "
            "sentence-transformers reads."
        ) from exc


@lru_cache(maxsize=2)
def load_embedder(
    spec: EmbeddingSpec, models: Path, batch_tokens: int | None = None, threads: int | None = None
) -> SentenceTransformerEmbedder:
    """Load the model of a spec, once per process.

    Raises:
        ModelError: the model or the spec's engine is not there.
        SpecMismatchError: the model's files are not those that the spec was made with.
    """
    folder = spec_folder(spec, models)
    engine = engine_of(spec, folder, models, threads=threads)
    return SentenceTransformerEmbedder(spec, folder, engine, batch_tokens=batch_tokens)


def spec_folder(spec: EmbeddingSpec, models: Path) -> Path:
    """Give the folder of the model that a spec names.

    Raises:
        ModelError: the model is not there.
        SpecMismatchError: the model's files are not those that the spec was made with.
    """
    folder = model_folder(spec.model, models)
    if spec.engine == "static":
        folder = distilled_model(folder, models)
    spec.require(spec.model_copy(update={"revision": folder_checksum(folder)}))
    return folder
