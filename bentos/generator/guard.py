"""A small process between the generator and vLLM that leaves none of vLLM's processes behind.

Run as `python -m bentos.generator.guard <command> ...`. It starts the command in a process group of its own
and ends the whole group when the command ends, or when its standard input closes - which the system does for
it when the generator dies in any way, SIGKILL included. SIGTERM and SIGINT it ignores: BentoML sends them to the
generator and its children alike, and the generator still has answers under way that need vLLM.
"""

import os
import signal
import subprocess
import sys
import threading
import time

from forebay.processes import die_with_parent

__all__ = ["run"]

GRACE_S = 5.0


def run(command: list[str]) -> int:
    """Run a command until it ends or nobody needs it; returns its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_parent)
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_wait_for_end_of_input, args=(ending,), daemon=True).start()
    while child.poll() is None and not ending.wait(0.2):
        pass
    _end_group(child)
    return child.wait()


def _wait_for_end_of_input(ending: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    ending.set()


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to end, then make it."""
    _signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and _signal_group(child.pid, 0):
        child.poll()
        time.sleep(0.05)
    _signal_group(child.pid, signal.SIGKILL)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
