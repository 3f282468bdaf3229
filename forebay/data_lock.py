"""One job at a time on a data folder, whoever started it: Dagster's daemon, its page, or `forebay ingest`.

`python -m forebay.data_lock MODULE` waits for the lock and then becomes `python -m MODULE`, which holds it to its
end. So a job whose starter was killed still keeps the next one out, and a killed job leaves nothing behind: the
operating system frees the lock with the process.
"""

import fcntl
import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["data_lock", "is_locked", "locked_command"]

_POLL_S = 0.5


def locked_command(module: str, python: str = sys.executable) -> list[str]:
    """Give the command that runs a module alone on the data folder of its environment."""
    return [python, "-m", "forebay.data_lock", module]


@contextmanager
def data_lock(folder: Path, on_wait: Callable[[], None]) -> Generator[None]:
    """Hold the lock in this process.

    Args:
        folder: The data folder; it is made where it isn't there.
        on_wait: Called once if another process holds the lock.
    """
    with _lock_file(folder) as stream:
        if not _takes(stream):
            on_wait()
            # Asked again and again, for a blocking call could not be interrupted by Dagster.
            while not _takes(stream):
                time.sleep(_POLL_S)
        yield


def is_locked(folder: Path) -> bool:
    """Say whether a job works on the folder just now."""
    with _lock_file(folder) as stream:
        return not _takes(stream)


def _takes(stream: IO[bytes]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_file(folder: Path) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / "pipeline.lock").open("ab")


def _become(folder: Path, module: str) -> None:
    stream = _lock_file(folder)
    fcntl.flock(stream, fcntl.LOCK_EX)
    os.set_inheritable(stream.fileno(), True)
    os.execv(sys.executable, [sys.executable, "-m", module])


if __name__ == "__main__":
    from forebay.settings import PathSettings

    _become(PathSettings().data.absolute(), sys.argv[1])
