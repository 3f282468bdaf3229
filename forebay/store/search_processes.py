"""A release that is searched by processes of its own.

Qdrant Edge holds Python's lock while it searches and while it opens a shard: more than one search at a time needs more
than one process, and so does a search while another release is being opened. The index's files are mapped, so what the
processes read of them is in memory once.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from forebay.errors import ReleaseError
from forebay.releases import ReleaseManifest
from forebay.settings import PathSettings
from forebay.store.contract import Hit, SearchRequest
from forebay.store.opening import open_index

__all__ = ["SearchProcesses"]

# What a connection raises whose other side has ended.
_ENDED = (EOFError, OSError)
# Where the release can't be opened any more, a process for every request would fill the processors and keep everybody
# waiting.
_REOPEN_PAUSE_S = 5.0


class SearchProcesses:
    """An `OpenRelease` of several processes: each has the whole release open, and answers its share of the requests.

    A process that ends is replaced, and its requests are asked once more. Where the new one can't open the release, the
    others answer for it, and some seconds later it is tried again; where no other is left, requests fail meanwhile.
    """

    def __init__(self, manifest: ReleaseManifest, paths: PathSettings, processes: int) -> None:
        """Open the release in every process.

        Args:
            manifest: The release.
            paths: Where its shards lie.
            processes: How many, 1 or more.

        Raises:
            ConfigurationError: as `open_index`.
            ReleaseError: likewise, or a process ended.
        """
        self._manifest = manifest
        self._paths = paths
        cores = os.cpu_count() or 1
        # Twice the cores in all: one search at a time takes less, and searches that fill the cores not much more.
        self._threads = max(1, min(cores, 2 * cores // processes))
        self._turn = count()
        self._lost = set[int]()
        self._reopen_after_s, self._problem = 0.0, ""
        self._locks = [threading.Lock() for _ in range(processes)]
        self._processes: list[_Process] = []
        # Half of the cores go on with what else there is to do: searches of the release before.
        at_once = max(1, cores // 2)
        try:
            while opening := min(at_once, processes - len(self._processes)):
                self._processes += [_Process(manifest, paths, self._threads) for _ in range(opening)]
                for process in self._processes[-opening:]:
                    process.wait_until_open()
        except BaseException:
            self.close()
            raise

    @property
    def manifest(self) -> ReleaseManifest:
        """What was opened."""
        return self._manifest

    def search(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Answer several requests; see `OpenRelease.search`.

        Raises:
            FilterError: as `OpenRelease.search`.
            ReleaseError: likewise, or a process ended twice.
        """
        shares = min(len(self._usable(1)), len(requests))
        found = self._ask("search", [list(requests[share::shares]) for share in range(shares)])
        return [found[number % shares][number // shares] for number in range(len(requests))]

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """Count the chunks that match a filter; see `OpenRelease.count`."""
        return self._ask("count", [where])[0]

    def close(self) -> None:
        """End the processes; searches under way must have ended."""
        for process in self._processes:
            process.end()

    def _ask(self, method: str, arguments: Sequence[object]) -> list[Any]:
        """Let each of the arguments be answered by a process of its own, all at once.

        Waiting for an answer leaves Python's lock to others; a pool's threads would add 2 ms to it.
        """
        with ExitStack() as held:
            numbers = self._held(len(arguments), held)
            for number, argument in zip(numbers, arguments, strict=True):
                self._processes[number].send(method, argument)
            answers = [
                self._answer(number, method, argument) for number, argument in zip(numbers, arguments, strict=True)
            ]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _held(self, wanted: int, held: ExitStack) -> list[int]:
        """Lock processes: the first that nobody uses, whose caches are warm; of those in use by turns."""
        usable = self._usable(wanted)
        if wanted == 1:
            for number in usable:
                if self._locks[number].acquire(blocking=False):
                    held.callback(self._locks[number].release)
                    return [number]
        first = next(self._turn)
        turns = [usable[(first + step) % len(usable)] for step in range(len(usable))]
        turns.sort(key=lambda number: (number in self._lost, self._locks[number].locked()))
        # In ascending order, so that two callers never wait for each other.
        numbers = sorted(turns[:wanted])
        for number in numbers:
            held.enter_context(self._locks[number])
        return numbers

    def _usable(self, wanted: int) -> list[int]:
        """Give the processes to ask, those that could not be replaced last, or, a moment ago, not at all.

        Unless fewer than wanted would be left.
        """
        everyone = sorted(range(len(self._processes)), key=self._lost.__contains__)
        others = [number for number in everyone if number not in self._lost]
        is_paused = time.monotonic() < self._reopen_after_s
        return others if is_paused and len(others) >= wanted else everyone

    def _answer(self, number: int, method: str, argument: object) -> Any:
        try:
            return self._processes[number].receive()
        except _ENDED:
            pass
        self._lost.add(number)
        if time.monotonic() < self._reopen_after_s:
            return ReleaseError(self._problem)
        try:
            self._replace(number)
        except Exception as exc:
            self._reopen_after_s = time.monotonic() + _REOPEN_PAUSE_S
            self._problem = f"a process that searches has ended, and can't be replaced: {exc}"
            # The answers of the other processes still have to be read.
            return ReleaseError(self._problem)
        try:
            self._processes[number].send(method, argument)
            return self._processes[number].receive()
        except _ENDED:
            return ReleaseError("a process that searches has ended twice; the retriever's log may say why.")

    def _replace(self, number: int) -> None:
        self._processes[number].end()
        self._processes[number] = process = _Process(self._manifest, self._paths, self._threads)
        process.wait_until_open()
        self._lost.discard(number)


class _Process:
    """One process with the release open, asked by one caller at a time."""

    def __init__(self, manifest: ReleaseManifest, paths: PathSettings, threads: int) -> None:
        # Not a fork: threads of the parent may hold locks.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._release_id = manifest.release_id
        self._asked = 0
        self._process = context.Process(target=_serve, args=(theirs, manifest, paths, threads), daemon=True)
        self._process.start()
        theirs.close()

    def wait_until_open(self) -> None:
        """Wait for the release.

        Raises:
            ConfigurationError: as `open_index`.
            ReleaseError: likewise, or the process ended.
        """
        try:
            problem = self._connection.recv()
        except _ENDED as exc:
            raise ReleaseError(
                f"the release {self._release_id} can't be opened: its process was killed or has crashed; is there "
                "memory enough?",
                public="the process that searches it was killed or has crashed",
            ) from exc
        if problem is not None:
            raise problem

    def send(self, method: str, argument: object) -> None:
        """Ask; one that has ended is noticed when its answer is wanted."""
        self._asked += 1
        with suppress(OSError):
            self._connection.send((self._asked, method, argument))

    def receive(self) -> Any:
        """Give the answer to the last question, which may be an exception.

        Raises:
            EOFError: the process has ended.
            OSError: likewise.
        """
        while True:
            number, answer = self._connection.recv()
            # Whoever asked before may have been interrupted, and its answer is still there.
            if number == self._asked:
                return answer

    def end(self) -> None:
        """Let the process end: it does once its connection is closed."""
        self._connection.close()


def _serve(connection: Connection, manifest: ReleaseManifest, paths: PathSettings, threads: int) -> None:
    # Ctrl-C reaches the whole group; who is draining still searches.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Until the other side closes the connection, which it may do while the release is being opened.
    with suppress(EOFError, BrokenPipeError):
        try:
            release = open_index(manifest, paths, threads)
        except Exception as exc:
            connection.send(exc)
            return
        connection.send(None)
        while True:
            number, method, argument = connection.recv()
            try:
                answer: object = getattr(release, method)(argument)
            except Exception as exc:
                answer = exc
            connection.send((number, answer))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
