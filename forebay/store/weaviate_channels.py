"""Several connections to a cluster, asked by turns from one event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import cache
from itertools import cycle
from typing import Any, TypeVar

from weaviate import WeaviateAsyncClient
from weaviate.classes.config import ConsistencyLevel
from weaviate.collections import CollectionAsync
from weaviate.exceptions import WeaviateBaseError

from forebay.errors import ReleaseError
from forebay.settings import WeaviateSettings
from forebay.store.weaviate_connection import connect_async

__all__ = ["Channels", "Question"]

T = TypeVar("T")
Question = Callable[[CollectionAsync[Any, Any]], Awaitable[T]]
"""Asks a collection something."""


class Channels:
    """Asks one collection from any number of threads: so many questions at once, none beyond its deadline.

    A client has one gRPC channel, so one connection to one node of the cluster.

    Raises:
        ConfigurationError: the settings are wrong.
        ReleaseError: the cluster doesn't answer, or refuses who we are.
    """

    def __init__(self, collection: str, settings: WeaviateSettings) -> None:
        self._settings = settings
        self._free = asyncio.Semaphore(settings.max_concurrent_searches)
        self._clients: list[WeaviateAsyncClient] = []
        try:
            self._wait(self._connect())
        except BaseException:
            self.close()
            raise
        level = ConsistencyLevel(settings.read_consistency)
        self._turns = cycle(
            [client.collections.use(collection).with_consistency_level(level) for client in self._clients]
        )

    def ask(self, questions: Sequence[Question[T]]) -> list[T]:
        """Ask all of them and wait for the answers, in order; after the deadline, those under way are cancelled.

        Raises:
            ReleaseError: the cluster fails, the deadline is over, or was over before a question's turn came.
        """
        return self._wait(self._ask(questions))

    def close(self) -> None:
        """Disconnect."""
        self._wait(self._close())

    async def _connect(self) -> None:
        for _ in range(self._settings.channels):
            self._clients.append(await connect_async(self._settings))

    async def _close(self) -> None:
        while self._clients:
            await self._clients.pop().close()

    async def _ask(self, questions: Sequence[Question[T]]) -> list[T]:
        deadline = asyncio.get_running_loop().time() + self._settings.search_deadline_s
        under_way: list[asyncio.Task[T]] = []
        try:
            for question in questions:
                await self._take_turn(deadline)
                task = asyncio.create_task(self._answer(question, deadline))
                # A task that is cancelled before it begins never reaches a `finally` of its own.
                task.add_done_callback(lambda _: self._free.release())
                under_way.append(task)
            return await asyncio.gather(*under_way)
        finally:
            for task in under_way:
                task.cancel()
            # Until all of them have ended, and their failures have been seen.
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _take_turn(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError as exc:
            raise ReleaseError(
                f"{self._settings.max_concurrent_searches} questions to Weaviate are under way already, and none ended "
                f"within {self._settings.search_deadline_s:g} s; ask again later."
            ) from exc

    async def _answer(self, question: Question[T], deadline: float) -> T:
        try:
            # The client alone goes on trying for half a minute.
            async with asyncio.timeout_at(deadline):
                return await question(next(self._turns))
        except TimeoutError as exc:
            raise ReleaseError(
                f"Weaviate at {self._settings.url!r} doesn't answer within {self._settings.search_deadline_s:g} s."
            ) from exc
        except WeaviateBaseError as exc:
            raise ReleaseError(f"Weaviate at {self._settings.url!r} can't answer: {exc}") from exc

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, _loop()).result()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Start the process's loop: gRPC's asynchronous channels disturb each other in several."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="weaviate", daemon=True).start()
    return loop
