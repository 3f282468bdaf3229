"""`forebay quantize`: the AWQ job by hand, in its own environment."""

import os
import subprocess
from pathlib import Path

from forebay.errors import ConfigurationError
from forebay.generation_models import quantization_extras, quantization_python
from forebay.settings import GeneratorSettings, PathSettings

__all__ = ["run"]


def run(settings: GeneratorSettings, paths: PathSettings, calibration: Path) -> int:
    """Run the job and give its exit status; 2 where the checkpoint failed its check."""
    if not calibration.exists():
        raise ConfigurationError(f"there is no file or folder {str(calibration)!r} with texts to calibrate with.")
    extras = quantization_extras(settings, paths, calibration)
    arguments = [part for name, value in extras.items() for part in (f"--{name}", value)]
    command = [str(quantization_python()), "-m", "model_jobs.quantize_generator.main", *arguments]
    root = Path(__file__).resolve().parent.parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, env=environment, check=False).returncode
