"""Distils a model into a static one with model2vec, once, into the model cache.

Source: Tulkens & van Dongen, Model2Vec (2024): every token of the vocabulary is embedded alone, the vectors are reduced
to 256 dimensions by PCA and weighted by SIF (Arora et al. 2017) over Zipf's estimate of the token's frequency.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import ModelError
from forebay.models import folder_checksum, made_once, model_folder
from forebay.settings import EmbeddingSettings

__all__ = ["distilled_model", "static_spec"]

# What the table is; the library's other files say how it came about, with this machine's paths.
_KEPT = ("model.safetensors", "tokenizer.json")


def static_spec(settings: EmbeddingSettings, models: Path) -> EmbeddingSpec:
    """Give the identity of the configured model's static form, which is made the first time.

    Its revision is the hash of the distilled files: two machines may round a distillation differently.

    Raises:
        ModelError: the model is not there or can't be distilled, or the precision is another than fp32.
    """
    if settings.precision not in ("auto", "fp32"):
        raise ModelError(f"the engine 'static' doesn't compute in {settings.precision!r}; there is: static with fp32.")
    folder = model_folder(settings.model, models)
    static = distilled_model(folder, models)
    sentence = json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))
    return EmbeddingSpec(
        model=settings.model,
        revision=folder_checksum(static),
        dim=int(json.loads((static / "config.json").read_text("utf-8"))["dim"]),
        max_tokens=int(sentence["max_seq_length"]),
        precision="fp32",
        engine="static",
    )


def distilled_model(folder: Path, models: Path) -> Path:
    """Give the folder of a model's static form, distilling it the first time (some 15 s for 30,000 tokens).

    Args:
        folder: The sentence-transformers model.
        models: The model cache.

    Raises:
        ModelError: model2vec is not installed, or can't distil this model.
    """
    target = models / "exports" / f"static-{folder_checksum(folder)[:16]}"
    if not target.exists():
        _distill_aside(folder, target)
    return target


def _distill_aside(folder: Path, target: Path) -> None:
    """Distil in a process of its own: its libraries go with it, and Spark's workers never hold them."""
    if any(importlib.util.find_spec(name) is None for name in ("model2vec", "skeletoken")):
        raise ModelError("the engine 'static' needs model2vec; install the extra `embedding-static`.")
    with made_once(target) as staging:
        command = [sys.executable, "-m", "forebay.embedding.distillation", str(folder), str(staging)]
        # A progress bar and a look at the hub are the library's habit.
        quiet = {**os.environ, "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it was killed; is there enough memory (2 GB)?"])[-1]
            raise ModelError(f"the model {folder} could not be distilled into a static one: {last}")


def _distill(folder: Path, target: Path) -> None:
    """Write the static form's files.

    Raises:
        ModelError: a weight is not finite.
    """
    import torch
    from model2vec.distill import distill_from_model
    from transformers import AutoModel, AutoTokenizer

    full = AutoModel.from_pretrained(folder)
    # The library would take zeros for what is not a number.
    if not all(torch.isfinite(weights).all() for weights in full.parameters()):
        raise ModelError("some of its weights are not finite; the model is broken or was changed.")
    model = distill_from_model(full, AutoTokenizer.from_pretrained(folder), device="cpu")
    with tempfile.TemporaryDirectory() as written:
        model.save_pretrained(written)
        for name in _KEPT:
            shutil.copyfile(Path(written) / name, target / name)
    (target / "config.json").write_text(json.dumps({"dim": model.dim}), "utf-8")


if __name__ == "__main__":
    _distill(Path(sys.argv[1]), Path(sys.argv[2]))
