"""Listing a source in a thread, for as long as it takes."""

import threading
from collections.abc import Callable

from forebay.sources.contract import Changes

__all__ = ["Listing"]


class Listing:
    """A listing that goes on while others are looked at."""

    def __init__(self, list_changes: Callable[[], Changes]) -> None:
        """Begin it."""
        self._list = list_changes
        self._found: Changes | None = None
        self._error: Exception | None = None
        # A process that ends doesn't wait for it.
        self._thread = threading.Thread(target=self._run, name="listing", daemon=True)
        self._thread.start()

    def is_done_within(self, timeout_s: float) -> bool:
        """Wait for its end, and say whether it came."""
        self._thread.join(max(timeout_s, 0.0))
        return not self._thread.is_alive()

    def result(self) -> Changes:
        """Give what was found; only once it is done.

        Raises:
            Exception: whatever the connector raised.
        """
        if self._error is not None:
            raise self._error
        assert self._found is not None
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._list()
        except Exception as exc:
            self._error = exc
