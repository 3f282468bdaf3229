"""What this machine's processor can do, as far as it decides how models run."""

from functools import lru_cache
from pathlib import Path

__all__ = ["cpu_flags", "embeds_faster_in_bf16", "multiplies_bf16", "runs_awq_on_cpu"]


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


def embeds_faster_in_bf16() -> bool:
    """Say whether torch embeds faster in bf16 than in fp32.

    With AMX it does, 3 times (`design.md`). With AVX512-BF16 only it takes twice as long: 35 against 66 texts/s on two
    cores of an Intel Xeon, and without either it is emulated.
    """
    return "amx_bf16" in cpu_flags()


def runs_awq_on_cpu() -> bool:
    """Say whether vLLM's CPU kernel for 4-bit weights runs here.

    Without AVX-512 it stops at the first forward pass (vllm#55613; seen here on an AVX2 AMD EPYC).
    """
    return "avx512f" in cpu_flags()
