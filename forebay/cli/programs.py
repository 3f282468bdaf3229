"""Commands that are programs of their own: the CLI becomes them, so signals and exit status are theirs."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

__all__ = ["become"]


def become(module: str, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> NoReturn:
    """Replace this process with `python -m module`.

    Forebay's layers above the shared package are started by name, because `forebay` never imports them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", module, *arguments]
    os.execve(sys.executable, command, {**os.environ, **(environment or {})})
