"""Fills and checks the model cache: `python -m forebay.cli.models`, the last step of `make setup`."""

import sys
import time

from forebay.embedding.choice import resolve_spec
from forebay.errors import ForebayError
from forebay.generation_models import checkpoint_folders, ensure_base_checkpoint
from forebay.settings import EmbeddingSettings, GeneratorSettings, PathSettings

__all__ = ["main"]


def main() -> int:
    """Make the configured models ready; says something only where it takes time."""
    paths, embedding, generator = PathSettings(), EmbeddingSettings(), GeneratorSettings()
    started = time.monotonic()
    is_first = generator.model.startswith("package:") and not checkpoint_folders(generator, paths).base.exists()
    if is_first:
        print(f"Filling the model cache {paths.models} (about 40 s) ...", flush=True)  # noqa: T201 - a command
    try:
        resolve_spec(embedding, paths)
        ensure_base_checkpoint(generator, paths)
    except ForebayError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    if is_first:
        print(f"The models are ready after {time.monotonic() - started:.0f} s.", flush=True)  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
