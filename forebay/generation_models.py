"""The generation model's checkpoints in the model cache: bf16 made from GGUF, and where the AWQ one lies."""

import fcntl
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from forebay.documents import content_hash
from forebay.errors import ModelError
from forebay.models import PACKAGED_MODELS, file_checksum, model_folder
from forebay.settings import GeneratorSettings, PathSettings

__all__ = [
    "CheckpointFolders",
    "checkpoint_folders",
    "ensure_base_checkpoint",
    "quantization_extras",
    "quantization_python",
]

_CHECKSUMS = "checksums.json"
_STAGING_PREFIX = ".converting-"


@dataclass(frozen=True)
class CheckpointFolders:
    """Where the checkpoints of one generation model lie; nothing need exist yet."""

    base: Path
    """bf16 safetensors, made by `ensure_base_checkpoint` where the model comes as GGUF. For a hub model this
    is where a conversion would lie: only `ensure_base_checkpoint` knows the snapshot's folder."""
    awq: Path
    """Checkpoint that the quantization job made."""
    check: Path
    """What the job's check found about it: JSON with `passed` and `reason` among others."""


def checkpoint_folders(settings: GeneratorSettings, paths: PathSettings) -> CheckpointFolders:
    """Name the places of a generation model's checkpoints."""
    folder = paths.models / "generator" / _cache_name(settings.model)
    local = Path(settings.model).absolute()
    base = local if (local / "config.json").exists() else folder / "base"
    return CheckpointFolders(base=base, awq=folder / "awq", check=folder / "awq-check.json")


def ensure_base_checkpoint(settings: GeneratorSettings, paths: PathSettings) -> Path:
    """Give the folder of the unquantized checkpoint, converting it from GGUF the first time (about 40 s).

    Raises:
        ModelError: the model can't be had or converted, or a file of the checkpoint was changed.
    """
    source = model_folder(settings.model, paths.models)
    gguf = sorted(source.glob("*.gguf"))
    if not gguf or (source / "config.json").exists():
        return source
    folder = paths.models / "generator" / _cache_name(settings.model) / "base"
    if not folder.exists():
        with _lock(folder.parent):
            if not folder.exists():
                _convert_aside(gguf[0], folder)
    _verify(folder)
    return folder


def quantization_python() -> Path:
    """Find the Python of the quantization job's own environment, beside the one that runs now.

    Raises:
        ModelError: it was not set up.
    """
    python = Path(sys.prefix).with_name(".venv-quantize") / "bin" / "python"
    if not python.exists():
        raise ModelError(f"the quantization job's environment {python.parent.parent} is missing. Run `make quantize`.")
    return python


def quantization_extras(settings: GeneratorSettings, paths: PathSettings, calibration: Path) -> dict[str, str]:
    """Name the quantization job's arguments: options of its command line, or extras of Dagster Pipes.

    Args:
        settings: Which model.
        paths: The model cache.
        calibration: A corpus: a JSONL file or a folder of texts.

    Raises:
        ModelError: the model to quantize can't be had.
    """
    folders = checkpoint_folders(settings, paths)
    return {
        "base": str(ensure_base_checkpoint(settings, paths)),
        "awq": str(folders.awq),
        "check": str(folders.check),
        "calibration": str(calibration.absolute()),
    }


def _cache_name(model: str) -> str:
    """Give every model its own folder name; a local folder's holds a hash of its path."""
    if model.startswith("package:"):
        name = model.removeprefix("package:")
        version = PACKAGED_MODELS[name][0] if name in PACKAGED_MODELS else "unknown"
        return f"{name}-{version}"
    if Path(model).is_dir():
        path = Path(model).absolute()
        return f"{path.name}-{content_hash(path.as_posix())[:8]}"
    return re.sub(r"[^A-Za-z0-9._-]+", "--", model)


@contextmanager
def _lock(folder: Path) -> Generator[None]:
    """Let one process at a time convert; a killed one leaves no lock behind."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _convert_aside(gguf: Path, target: Path) -> None:
    """Convert in a process of its own, so that its gigabyte of libraries and weights goes when it is done."""
    for orphan in target.parent.glob(f"{_STAGING_PREFIX}*"):
        shutil.rmtree(orphan, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=_STAGING_PREFIX))
    try:
        command = [sys.executable, "-m", "forebay.generation_models", str(gguf), str(staging)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it was killed; is there enough memory (2 GB)?"])[-1]
            raise ModelError(f"the generation model {gguf.name} could not be converted to safetensors: {last}")
        _seal(staging)
        os.replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _seal(folder: Path) -> None:
    """Write the checksum of every file, and make the files readable by the users that services run as."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    checksums = {path.name: file_checksum(path) for path in files}
    (folder / _CHECKSUMS).write_text(json.dumps(checksums, indent=2), "utf-8")
    for path in folder.iterdir():
        path.chmod(0o644)
    folder.chmod(0o755)


@lru_cache(maxsize=16)
def _verify(folder: Path) -> None:
    try:
        checksums: dict[str, str] = json.loads((folder / _CHECKSUMS).read_text("utf-8"))
        wrong = [name for name, digest in checksums.items() if file_checksum(folder / name) != digest]
    except (OSError, ValueError):
        wrong = [_CHECKSUMS]
    if wrong:
        raise ModelError(
            f"the generation model's files {', '.join(wrong)} in {folder} are missing or damaged. "
            f"Remove that folder and run `make setup` again."
        )


def _convert(gguf: Path, target: Path) -> None:
    """Write a GGUF file's model as bf16 safetensors, with its tokenizer, chat template and end tokens.

    Raises:
        ModelError: the file names no chat template, or its end-of-turn token would not end an answer.
    """
    import torch

    # Untyped on purpose: transformers types little of what is used here.
    transformers: Any = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    if not tokenizer.chat_template:
        raise ModelError(f"{gguf.name} has no chat template, so it can't answer questions. Choose an instruct model.")
    ends = model.generation_config.eos_token_id
    if tokenizer.eos_token_id not in (ends if isinstance(ends, list) else [ends]):
        raise ModelError(f"{gguf.name}: the end token {tokenizer.eos_token!r} would not end an answer.")
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), Path(sys.argv[2]))
