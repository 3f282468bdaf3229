"""Quantizes a generation model with AWQ, checks what came out, and puts both in the model cache.

Runs in `.venv-quantize` (`make quantize`), either launched by Dagster Pipes with its arguments as extras, or
by hand: `python -m model_jobs.quantize_generator.main --base F --awq F --check F --calibration F`. A
checkpoint that fails the check is kept, with `passed: false` beside it; the bf16 model goes on serving.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["main"]

CALIBRATION_WINDOWS = 16
HELD_OUT_WINDOWS = 16
WINDOW_TOKENS = 256
MAX_TEXTS = 400
_STAGING_PREFIX = ".quantizing-"


@dataclass(frozen=True)
class Places:
    """The job's arguments."""

    base: Path
    """Folder of the unquantized checkpoint."""
    awq: Path
    """Folder that the AWQ checkpoint gets."""
    check: Path
    """JSON file that says what the check found."""
    calibration: Path
    """Corpus whose texts calibrate and are held out: a JSONL file or a folder."""


def main() -> int:
    """Run the job under Dagster Pipes where it was launched so, else from the command line."""
    # Read when torch is imported: threads that wait actively take the cores from whatever runs beside the job.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "DAGSTER_PIPES_CONTEXT" in os.environ:
        return _run_under_pipes()
    parser = argparse.ArgumentParser(description=__doc__)
    for name in Places.__dataclass_fields__:
        parser.add_argument(f"--{name}", type=Path, required=True)
    try:
        found = run(Places(**vars(parser.parse_args())))
    except ValueError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if found["passed"] else 2


def _run_under_pipes() -> int:
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        found = run(Places(**{name: Path(pipes.get_extra(name)) for name in Places.__dataclass_fields__}))
        pipes.log.info(f"AWQ checkpoint: {found['reason']}")
        pipes.report_asset_materialization(metadata=found)
        if "asset_check" in pipes.extras:
            pipes.report_asset_check(check_name=pipes.get_extra("asset_check"), passed=found["passed"], metadata=found)
    return 0


def run(places: Places) -> dict[str, Any]:
    """Quantize, check, and publish the checkpoint and the check's findings.

    Returns:
        What `awq-check.json` holds.

    Raises:
        ValueError: the base checkpoint is missing, or there is too little text.
    """
    if not (places.base / "config.json").exists():
        raise ValueError(f"{places.base} is no checkpoint (it has no config.json). Run `make setup` first.")
    from transformers import AutoTokenizer

    from model_jobs.quantize_generator.checking import compare
    from model_jobs.quantize_generator.quantization import quantize
    from model_jobs.quantize_generator.texts import read_texts

    started = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(places.base)
    calibration, held_out = _windows(tokenizer, read_texts(places.calibration, MAX_TEXTS))
    places.awq.parent.mkdir(parents=True, exist_ok=True)
    staging = _new_staging(places.awq)
    try:
        quantize(places.base, staging, calibration)
        seconds_quantizing = time.monotonic() - started
        verdict = compare(places.base, staging, held_out)
        found = {
            **verdict.as_dict(),
            "seconds": round(time.monotonic() - started, 1),
            "seconds_quantizing": round(seconds_quantizing, 1),
            "calibration_windows": len(calibration),
            "held_out_windows": len(held_out),
            "checkpoint_sha256": _weights_checksum(staging),
            "base_sha256": _weights_checksum(places.base),
        }
        _publish(staging, places, found)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return found


def _windows(tokenizer: Any, texts: list[str]) -> tuple[list[list[int]], list[list[int]]]:
    """Cut windows of tokens: every second document calibrates, the others are held out."""
    from model_jobs.quantize_generator.texts import token_windows

    def cut(chosen: list[str], windows: int) -> list[list[int]]:
        return token_windows(
            chosen, lambda text: tokenizer(text)["input_ids"], windows=windows, window_tokens=WINDOW_TOKENS
        )

    return cut(texts[0::2], CALIBRATION_WINDOWS), cut(texts[1::2], HELD_OUT_WINDOWS)


def _new_staging(target: Path) -> Path:
    """Give an empty folder beside the target; what killed runs left behind goes."""
    for orphan in target.parent.glob(f"{_STAGING_PREFIX}*"):
        pid = orphan.name.removeprefix(_STAGING_PREFIX).partition("-")[0]
        if not Path(f"/proc/{pid}").exists():
            shutil.rmtree(orphan, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{_STAGING_PREFIX}{os.getpid()}-"))


def _publish(staging: Path, places: Places, found: dict[str, Any]) -> None:
    """Move the checkpoint to its place; a check never stands beside a checkpoint that it isn't about."""
    for path in staging.iterdir():
        path.chmod(0o644)
    staging.chmod(0o755)
    places.check.unlink(missing_ok=True)
    if places.awq.exists():
        os.rename(places.awq, staging.with_name(f"{staging.name}-old"))
    os.rename(staging, places.awq)
    part = places.check.with_name(f".{places.check.name}.{os.getpid()}")
    part.write_text(json.dumps(found, indent=2), "utf-8")
    os.replace(part, places.check)
    shutil.rmtree(staging.with_name(f"{staging.name}-old"), ignore_errors=True)


def _weights_checksum(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
