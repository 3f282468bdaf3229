"""What every benchmark's last line says about the machine, and running Forebay's programs."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "samples" / "cranfield"


def machine() -> str:
    """Name processor, cores and memory."""
    model = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.machine(),
    )
    flags = set(next((line for line in _cpuinfo() if line.startswith("flags")), "").split())
    widest = next((name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags), "no AVX")
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores ({widest}), {gib:.0f} GiB"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def report(figures: dict[str, Any]) -> None:
    """Print the figures as the last line, one JSON object."""
    print(json.dumps({**figures, "machine": machine()}))


def ingest(source: Path, data: Path) -> None:
    """Run the pipeline; what it prints is shown.

    Raises:
        CalledProcessError: the run failed.
    """
    environment = {**os.environ, "FOREBAY_DATA": str(data)}
    command = [sys.executable, "-m", "orchestration.run", "--source", str(source)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
