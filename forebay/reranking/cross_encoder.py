"""sentence-transformers cross-encoders behind the `PairScorer` contract."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from forebay.errors import ModelError
from forebay.models import model_folder
from forebay.reranking.contract import EncodedPair
from forebay.reranking.reranker import Reranker
from forebay.settings import PathSettings, ServingSettings

__all__ = ["CrossEncoderScorer", "check_cross_encoder", "load_reranker"]

_INDEX = "model.safetensors.index.json"
# What transformers' sequence classifiers call the layer that gives the score.
_HEADS = {"classifier", "score", "classification_head", "logits_proj"}


class CrossEncoderScorer:
    """A cross-encoder with one label; see `PairScorer`. It runs on an NVIDIA GPU where there is one."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Load a model.

        Args:
            folder: Its files.
            threads: Threads that compute, of those that the calling thread starts; as torch has it if None.

        Raises:
            ModelError: it is no cross-encoder of the kind that Forebay runs, or its files are missing or damaged.
        """
        import torch
        from sentence_transformers import CrossEncoder
        from transformers.utils import logging as transformers_logging

        check_cross_encoder(folder)
        transformers_logging.disable_progress_bar()
        if threads is not None:
            torch.set_num_threads(threads)
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._model = CrossEncoder(
                str(folder),
                device=self._device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            ).eval()
        except (OSError, ValueError, KeyError, AttributeError, ImportError, RuntimeError, SafetensorError) as exc:
            raise ModelError(
                f"the reranker in {folder} can't be loaded ({exc}). Check that its files are whole, and of a kind that "
                "sentence-transformers' CrossEncoder reads."
            ) from exc
        self._tokenizer: Any = self._model.tokenizer
        self._max_tokens = self._model.max_seq_length

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[EncodedPair]:
        """Tokenize pairs; see `PairScorer.encode`."""
        # Rust tokenizers refuse lone surrogates.
        whole = [[part.encode("utf-8", "replace").decode("utf-8") for part in pair] for pair in pairs]
        held = self._tokenizer(whole, truncation="longest_first", max_length=self._max_tokens)
        return [{name: values[row] for name, values in held.items()} for row in range(len(whole))]

    def score(self, batch: Sequence[EncodedPair]) -> NDArray[np.float32]:
        """Score a batch; see `PairScorer.score`."""
        torch = self._torch
        padded = {name: torch.tensor(rows, device=self._device) for name, rows in self._padded(batch).items()}
        with torch.inference_mode():
            logits = self._model(padded)["scores"].float()
            scores = logits if self._model.activation_fn is None else self._model.activation_fn(logits)
        return scores.reshape(len(batch)).cpu().numpy()

    def _padded(self, batch: Sequence[EncodedPair]) -> dict[str, list[list[int]]]:
        longest = max(len(pair["input_ids"]) for pair in batch)
        fillers = {"input_ids": self._tokenizer.pad_token_id or 0, "token_type_ids": 0, "attention_mask": 0}
        return {
            name: [[*pair[name], *[fillers[name]] * (longest - len(pair[name]))] for pair in batch]
            for name in batch[0]
            if name in fillers
        }


def check_cross_encoder(folder: Path) -> None:
    """Make sure that a model is a sequence classifier with one label, in safetensors, without loading it.

    A model without such a head would be given one of random numbers by transformers, and order passages by them.

    Raises:
        ModelError: it isn't, or a file is missing or can't be read.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
        architecture = str((config.get("architectures") or [""])[0])
        labels = len(config.get("id2label") or {}) or int(config.get("num_labels", 2))
        names = _weights(folder)
        modules = json.loads(path.read_text("utf-8")) if (path := folder / "modules.json").exists() else [{}]
        is_alone = len(modules) == 1 and not modules[0].get("path")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as exc:
        raise ModelError(
            f"the reranker in {folder} can't be read ({exc}): it needs config.json and its weights as safetensors, "
            "whole. Set FOREBAY_SERVING_RERANKER to another model, or to nothing."
        ) from exc
    has_head = any(name.split(".")[0] in _HEADS for name in names)
    if not architecture.endswith("ForSequenceClassification") or labels != 1 or not has_head:
        raise ModelError(
            f"the model in {folder} is no cross-encoder that can rerank ({architecture or 'unknown architecture'}, "
            f"{labels} labels, {'with' if has_head else 'without'} the weights of its head): it needs a sequence "
            "classifier with one label, such as cross-encoder/ms-marco-MiniLM-L6-v2. Set FOREBAY_SERVING_RERANKER "
            "to such a model, or to nothing."
        )
    # What a further module loads need not be safetensors.
    if not is_alone:
        raise ModelError(f"the reranker in {folder} has modules beside its transformer, which Forebay doesn't run.")
    if not (folder / "tokenizer.json").exists():
        raise ModelError(f"the model folder {folder} has no tokenizer.json; choose a model with a fast tokenizer.")


def load_reranker(settings: ServingSettings, paths: PathSettings, *, threads: int | None = None) -> Reranker | None:
    """Load the reranker that the settings name, and warm it up; None where they name none.

    Raises:
        ModelError: it isn't there, can't be fetched, or is none that can be run.
    """
    if not settings.reranker:
        return None
    scorer = CrossEncoderScorer(model_folder(settings.reranker, paths.models), threads=threads)
    try:
        return Reranker(scorer, candidates=settings.reranker_candidates, batch_size=settings.reranker_batch_size)
    except (RuntimeError, ValueError, IndexError, KeyError, TypeError) as exc:
        raise ModelError(f"the reranker {settings.reranker!r} fails at its first passages ({exc}).") from exc


def _weights(folder: Path) -> set[str]:
    """List the names of a model's weights."""
    if (folder / _INDEX).exists():
        return set(json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"])
    with safe_open(folder / "model.safetensors", "numpy") as held:
        return set(held.keys())
