"""Seconds of `make demo` on a fresh clone, and again in the same clone (packages cached, model cache empty)."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import ROOT, report


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="forebay-clone-") as folder:
        clone = Path(folder) / "forebay"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        # As a stranger: no environment, no model cache, nothing of this one's settings.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FOREBAY_", "VIRTUAL_ENV"))}
        environment = {**kept, "FOREBAY_HOME": f"{folder}/home"}
        seconds = []
        for _ in range(2):
            began = time.monotonic()
            subprocess.run(["make", "demo"], cwd=clone, env=environment, check=True)
            seconds.append(round(time.monotonic() - began, 1))
    report({"first_s": seconds[0], "second_s": seconds[1]})


if __name__ == "__main__":
    main()
