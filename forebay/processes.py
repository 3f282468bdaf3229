"""Children that don't outlive their parent, however it ends."""

import ctypes
import os
import signal
import sys

__all__ = ["die_with_parent"]

_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(parent: int | None = None) -> None:
    """Let the kernel kill this process when its parent dies; Linux only, elsewhere nothing happens.

    Args:
        parent: Process id of the parent, where it is known: one that died before this call counts, too.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
