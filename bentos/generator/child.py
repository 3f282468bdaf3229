"""The guarded vLLM process: started without waiting, ended with everything that it started."""

import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bentos.generator.guard import GRACE_S

__all__ = ["GuardedProcess"]

logger = logging.getLogger("forebay.generator")

_MAX_LOG_BYTES = 16 * 2**20


class GuardedProcess:
    """A command behind `bentos.generator.guard`; its output goes to a log file."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bentos.generator.guard", *command],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(environment),
            )

    @property
    def returncode(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """End it and everything it started; takes at most a few seconds more than the guard's grace."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(GRACE_S + 2)
        except subprocess.TimeoutExpired:
            logger.warning("the vLLM guard %d did not end; killing it", self._process.pid)
            self._process.kill()
            self._process.wait()
