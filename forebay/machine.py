"""What this machine's processor and GPU can do, as far as it decides how models run."""

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["computes_on_gpu", "cpu_flags", "has_nvidia_gpu", "multiplies_bf16", "runs_awq_on_cpu"]


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    """Read the processor's feature flags; empty where the system doesn't tell (not Linux on x86)."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return frozenset()
    for line in cpuinfo.read_text("utf-8", "replace").splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def multiplies_bf16() -> bool:
    """Say whether the processor multiplies bf16 in hardware; emulated, it is slower than fp32."""
    return bool(cpu_flags() & {"amx_bf16", "avx512_bf16"})


def has_nvidia_gpu() -> bool:
    """Say whether the system shows an NVIDIA GPU; torch, which would know for sure, takes seconds to import."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def computes_on_gpu() -> bool:
    """Say whether models run on an NVIDIA GPU: there is one, and the installed torch is not its CPU build."""
    try:
        return has_nvidia_gpu() and not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def runs_awq_on_cpu() -> bool:
    """Say whether vLLM's CPU kernel for 4-bit weights runs here.

    Without AVX-512 it stops at the first forward pass (vllm#55613; seen here on an AVX2 AMD EPYC).
    """
    return "avx512f" in cpu_flags()
