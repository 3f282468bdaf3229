"""An end for what waits on Weaviate for ever.

A stream's client takes no more objects while messages are unacknowledged. Those that a server has received and lost, as
one that shuts down or runs out of memory may, it never sends again, and never stops waiting for.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["ended_if_stalled"]


@contextmanager
def ended_if_stalled(limit_s: float, end: Callable[[], None]) -> Generator[Callable[[], None]]:
    """Watch the body, which calls what this gives whenever it gets on; `end` is called each time that it doesn't.

    Args:
        limit_s: Longest time without getting on, the body's beginning and the last end included.
        end: Breaks off what the body waits for; called from another thread.
    """
    got_on_at, is_over = time.monotonic(), threading.Event()

    def get_on() -> None:
        nonlocal got_on_at
        got_on_at = time.monotonic()

    def watch() -> None:
        while not is_over.wait(max(0.0, got_on_at + limit_s - time.monotonic())):
            if time.monotonic() >= got_on_at + limit_s:
                end()
                get_on()

    watcher = threading.Thread(target=watch, name="stall watch", daemon=True)
    watcher.start()
    try:
        yield get_on
    finally:
        is_over.set()
        watcher.join()
