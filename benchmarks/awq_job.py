"""Seconds and findings of the AWQ job for the default generation model (needs `make quantize`'s environment)."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import ROOT, SAMPLE, report
from forebay.generation_models import ensure_base_checkpoint, quantization_python
from forebay.settings import GeneratorSettings, PathSettings


def main() -> None:
    base = ensure_base_checkpoint(GeneratorSettings(), PathSettings())
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        options = {
            "base": base,
            "awq": f"{folder}/awq",
            "check": f"{folder}/awq-check.json",
            "calibration": SAMPLE / "corpus.jsonl",
        }
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        command = [str(quantization_python()), "-m", "model_jobs.quantize_generator.main", *arguments]
        began = time.monotonic()
        # Its exit status is 2 where the checkpoint failed its check, which the figures say.
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
        seconds = round(time.monotonic() - began, 1)
        check = json.loads((Path(folder) / "awq-check.json").read_text("utf-8"))
    report({"job_s": seconds, **{key: value for key, value in check.items() if not key.endswith("sha256")}})


if __name__ == "__main__":
    main()
