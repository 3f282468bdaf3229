"""Ending well: once the process is told to end, what is under way gets a deadline."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import FrameType

from bentos.gateway.errors import ApiError

__all__ = ["Drain"]


class Drain:
    """Deadlines of everything under way in one event loop, shortened by the first SIGTERM or SIGINT.

    What overruns uvicorn's own limit is cut off in the middle of a chunk, which no client can tell from a broken
    network; an answer that ends at this one ends with an error that says so.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._ends_at: float | None = None
        self._deadlines: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def deadline(self, at: float | None = None) -> AsyncGenerator[None]:
        """Give the work in the context until `at`, a time of the event loop, or the drain's end if that is earlier.

        Raises:
            TimeoutError: it took longer than until `at`.
            ApiError: 503, the process has to end before it is done.
        """
        deadline = asyncio.timeout_at(self._earlier(at))
        try:
            async with deadline:
                self._deadlines.add(deadline)
                try:
                    yield
                finally:
                    self._deadlines.discard(deadline)
        except TimeoutError as exc:
            if self._ends_at is None or deadline.when() != self._ends_at:
                raise
            message = "The server is shutting down and can't finish the answer; ask again shortly."
            raise ApiError.unavailable(message, code="shutting_down") from exc

    def begin(self) -> None:
        """Shorten all deadlines, those of work that begins from now on included; a second call changes nothing."""
        if self._ends_at is not None:
            return
        self._ends_at = asyncio.get_running_loop().time() + self._grace_s
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(self._earlier(deadline.when()))

    def begin_on_signals(self) -> None:
        """Begin when the process is told to end, and let the web server's handler end it as before."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            inherited = signal.getsignal(number)

            def handle(number: int, frame: FrameType | None, inherited: object = inherited) -> None:
                loop.call_soon_threadsafe(self.begin)
                if callable(inherited):
                    inherited(number, frame)

            signal.signal(number, handle)

    def _earlier(self, at: float | None) -> float | None:
        return min((time for time in (at, self._ends_at) if time is not None), default=None)
