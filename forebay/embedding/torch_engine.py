"""The torch engine: sentence-transformers' own modules, on an NVIDIA GPU where there is one."""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forebay.embedding.engine import TokenBatch

__all__ = ["TorchEngine"]

_GPU_BATCH_TOKENS = 32_768
# Batches that a GPU has been given and not yet finished: it computes while the next one is padded and copied.
_GPU_AHEAD = 2


class TorchEngine:
    """Runs the model with torch; see `Engine`.

    On a GPU the weights themselves are in 16 bits; on a CPU, bf16 is torch's autocast, and fp16, which CPUs don't
    multiply fast, is fp32: questions to vectors that a GPU made are then rounded less than the vectors were.
    """

    def __init__(self, folder: Path, precision: Literal["fp32", "fp16", "bf16"], *, threads: int | None = None) -> None:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        if threads is not None:
            torch.set_num_threads(threads)
        self._torch = torch
        self._is_gpu = torch.cuda.is_available()
        self._device = "cuda" if self._is_gpu else "cpu"
        self._model = SentenceTransformer(str(folder), device=self._device, local_files_only=True).eval()
        if self._is_gpu:
            self._model.to({"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision])
        self._is_autocast = precision == "bf16" and not self._is_gpu

    @property
    def batch_tokens(self) -> int:
        """See `Engine`; on a CPU more of them only leave its caches."""
        return _GPU_BATCH_TOKENS if self._is_gpu else 1024

    def __call__(self, batches: Iterable[TokenBatch]) -> Iterator[NDArray[np.float32]]:
        """Run batches; see `Engine`."""
        return self._fetched(self._output(*batch)["sentence_embedding"] for batch in batches)

    def _output(self, tokens: NDArray[np.int64], is_token: NDArray[np.int64]) -> dict[str, Any]:
        """Start a batch; gives what the model's modules make of it, on the device."""
        torch = self._torch
        features = {"input_ids": self._sent(tokens), "attention_mask": self._sent(is_token)}
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._is_autocast):
            return self._model(features)

    def _fetched(self, results: Iterable[Any]) -> Iterator[NDArray[np.float32]]:
        """Bring tensors into the host's memory; on a GPU some are begun before the first is given."""
        under_way: deque[tuple[Any, Any]] = deque()
        for result in results:
            under_way.append(self._copied(result.float()))
            if len(under_way) > (_GPU_AHEAD if self._is_gpu else 0):
                yield _ended(*under_way.popleft())
        while under_way:
            yield _ended(*under_way.popleft())

    def _copied(self, result: Any) -> tuple[Any, Any]:
        """Begin to copy a tensor; gives where it will be in the host's memory, and the event of its arrival."""
        if not self._is_gpu:
            return result, None
        copy = self._torch.empty(result.shape, pin_memory=True)
        copy.copy_(result, non_blocking=True)
        arrival = self._torch.cuda.Event()
        arrival.record()
        return copy, arrival

    def _sent(self, values: NDArray[Any]) -> Any:
        tensor = self._torch.from_numpy(values)
        # From pinned memory the copy doesn't wait for what the GPU still computes.
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._is_gpu else tensor


def _ended(vectors: Any, arrival: Any) -> NDArray[np.float32]:
    if arrival is not None:
        arrival.synchronize()
    return vectors.numpy()
