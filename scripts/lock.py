"""Pins what pyproject.toml asks for in `locks/`: versions and hashes, no index addresses, no paths.

Run it as `make lock`. The locks are resolved for Python 3.11; resolved for 3.12 to 3.14 they name no further
packages (on a CPU), so one lock serves all of them.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from pip_settings import effective_settings, read_settings, uv_environment

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.11"
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
EXTRAS = ("pipeline", "s3", "gcs", "serving", "embedding-static", "dev")
SIDES = [word for extra in EXTRAS for word in ("--extra", extra)]
ON_A_CPU = ["--extra", "embedding-cpu", "--extra", "generation-cpu"]
OVERRIDES = ["--override", "locks/overrides.txt"]
LOCKS: dict[str, tuple[list[str], bool]] = {
    "all-cpu.txt": (["pyproject.toml", *SIDES, *ON_A_CPU, *OVERRIDES], True),
    "all-gpu.txt": (["pyproject.toml", *SIDES, "--extra", "generation-gpu"], False),
    "quantize.txt": (["locks/quantize.in", *OVERRIDES], True),
    "models.txt": (["locks/models.in", "--no-deps"], False),
}
"""What each lock is compiled from, and whether it takes PyTorch's CPU build."""


def main() -> int:
    """Compile the locks that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="LOCK", help=f"one of: {', '.join(LOCKS)}; all of them if none")
    parser.add_argument("--upgrade", action="store_true", help="take newer versions where pyproject.toml allows")
    arguments = parser.parse_args()
    for name in arguments.names or LOCKS:
        _compile(name, upgrade=arguments.upgrade)
    return 0


def _compile(name: str, *, upgrade: bool) -> None:
    inputs, needs_cpu_torch = LOCKS[name]
    target = ROOT / "locks" / name
    environment = {**os.environ, **_machine()}
    # An index on this disk may hold one wheel of a release where the others hold all, and so only its hash.
    environment.pop("UV_INDEX", None)
    if not needs_cpu_torch:
        # A folder of wheels may hold torch's CPU build, which would be taken for newer than PyPI's.
        environment.pop("UV_FIND_LINKS", None)
    # fmt: off
    command = [
        sys.executable, "-m", "uv", "pip", "compile", *inputs, "--output-file", str(target), "--quiet",
        "--python-version", PYTHON, "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links",
        "--custom-compile-command", "make lock", *(["--upgrade"] if upgrade else []),
    ]
    # fmt: on
    attempts = [command, [*command, "--index", PYTORCH_CPU_INDEX]] if needs_cpu_torch else [command]
    for attempt in attempts:
        done = subprocess.run(attempt, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
        if done.returncode == 0:
            break
    else:
        sys.exit(f"locks/{name} can't be resolved:\n{done.stderr}")
    text = without_local_build_hashes(target.read_text("utf-8"))
    target.write_text(text, "utf-8")
    print(f"locks/{name}: {len(re.findall(r'^[^ #]', text, re.MULTILINE))} packages")  # noqa: T201 - a command


def without_local_build_hashes(lock: str) -> str:
    """Drop the hashes of `+cpu` builds: a folder of wheels has one Python's wheel, the index all of them."""
    return re.sub(r"(?m)^(\S+==\S+\+cpu)(?: \\\n {4}--hash=\S+)+$", r"\1", lock)


def _machine() -> dict[str, str]:
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], text=True, capture_output=True, check=False
    )
    return uv_environment(effective_settings(read_settings(listing.stdout)), os.environ)


if __name__ == "__main__":
    sys.exit(main())
