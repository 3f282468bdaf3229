"""Which checkpoint is served, in which number format, and why."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bentos.generator.hardware import Hardware

__all__ = ["Checkpoint", "list_checkpoints"]


@dataclass(frozen=True)
class Checkpoint:
    """One way to serve the model."""

    model: str
    """Folder of the checkpoint."""
    kind: Literal["awq", "base"]
    """4-bit weights, or the model as it was published."""
    dtype: Literal["bfloat16", "float32"]
    """Number format of the arithmetic."""
    reason: str
    """A sentence for the log."""


def list_checkpoints(base: Path, awq: Path, check: Path, *, use_awq: bool, hardware: Hardware) -> list[Checkpoint]:
    """List the ways to serve a model: the preferred one first, then its fallback.

    Args:
        base: Folder of the model as it was published.
        awq: Folder of its AWQ checkpoint; need not exist.
        check: JSON file with the result of the AWQ checkpoint's checks (`passed`, `reason`); need not exist.
        use_awq: `GeneratorSettings.use_awq`.
        hardware: What the machine can do.
    """
    dtype, why = _dtype(hardware)
    if _is_quantized(base):
        return [Checkpoint(str(base), "awq", "bfloat16", "the model itself is quantized")]
    refusal = _awq_refusal(awq, check, use_awq=use_awq, hardware=hardware)
    if refusal:
        return [Checkpoint(str(base), "base", dtype, f"{refusal}; {why}")]
    # vLLM's 4-bit kernels take half-precision activations only.
    quantized = Checkpoint(str(awq), "awq", "bfloat16", "the AWQ checkpoint has passed its checks")
    return [quantized, Checkpoint(str(base), "base", dtype, f"the AWQ checkpoint did not run; {why}")]


def _is_quantized(folder: Path) -> bool:
    try:
        return "quantization_config" in json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False


def _awq_refusal(awq: Path, check: Path, *, use_awq: bool, hardware: Hardware) -> str:
    if not use_awq:
        return "AWQ is switched off"
    if not (awq / "config.json").exists():
        return "there is no AWQ checkpoint"
    try:
        result = json.loads(check.read_bytes())
    except (OSError, ValueError):
        return "the AWQ checkpoint has not been checked"
    if not isinstance(result, dict) or result.get("passed") is not True:
        reason = result.get("reason") if isinstance(result, dict) else None
        return f"the AWQ checkpoint failed its checks ({reason or 'no reason given'})"
    if not hardware.has_cuda and not hardware.runs_awq_on_cpu:
        return "this processor can't run vLLM's 4-bit kernel (it has no AVX-512)"
    return ""


def _dtype(hardware: Hardware) -> tuple[Literal["bfloat16", "float32"], str]:
    if hardware.has_cuda:
        return "bfloat16", "bfloat16 on the GPU"
    if hardware.multiplies_bf16:
        return "bfloat16", "bfloat16, which this processor multiplies itself"
    return "float32", "float32, because this processor would emulate bfloat16"
