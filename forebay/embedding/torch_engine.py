"""The torch engine: sentence-transformers' own modules, in fp32 or under bf16 autocast, on CUDA where it is there."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["TorchEngine"]


class TorchEngine:
    """Runs the model with torch; see `Engine`."""

    def __init__(self, folder: Path, precision: Literal["fp32", "bf16"], *, threads: int | None = None) -> None:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        if threads is not None:
            torch.set_num_threads(threads)
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = SentenceTransformer(str(folder), device=self._device, local_files_only=True).eval()
        self._is_bf16 = precision == "bf16"

    def __call__(self, tokens: NDArray[np.int64], is_token: NDArray[np.int64]) -> NDArray[np.float32]:
        """Run one batch; see `Engine`."""
        torch = self._torch
        features = {"input_ids": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(is_token)}
        on_device = {name: values.to(self._device) for name, values in features.items()}
        with torch.inference_mode(), torch.autocast(self._device, torch.bfloat16, enabled=self._is_bf16):
            return self._model(on_device)["sentence_embedding"].float().cpu().numpy()
