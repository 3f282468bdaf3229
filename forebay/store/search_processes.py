"""A release that is searched by processes of its own.

Qdrant Edge holds Python's lock while it searches and while it opens a shard: more than one search at a time needs more
than one process, and so does a search while another release is being opened. The index's files are mapped, so what the
processes read of them is in memory once.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from typing import Any, TypeVar

from forebay.errors import ReleaseError
from forebay.releases import ReleaseManifest
from forebay.settings import PathSettings
from forebay.store.contract import Hit, OpenRelease, SearchRequest
from forebay.store.opening import open_index

__all__ = ["SearchProcesses"]

T = TypeVar("T")


class SearchProcesses:
    """An `OpenRelease` of several processes: each has the whole release open, and answers its share of the requests.

    A process that ends is replaced, and its requests are asked once more.
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
        self._turn = count()
        self._replacing = threading.Lock()
        self._processes = [_Process() for _ in range(processes)]
        try:
            # All at once: opening is work for every core.
            for opened in [process.submit(_open, manifest, paths) for process in self._processes]:
                opened.result()
        except BrokenProcessPool as exc:
            self.close()
            raise ReleaseError(
                f"the release {manifest.release_id} can't be opened: its process was killed or has crashed; is there "
                "memory enough?"
            ) from exc
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
            ReleaseError: likewise, or the processes ended again and again.
        """
        shares = min(len(self._processes), len(requests))
        asked = [self._ask(_search, requests[share::shares]) for share in range(shares)]
        found = [answer() for answer in asked]
        return [found[number % shares][number // shares] for number in range(len(requests))]

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """Count the chunks that match a filter; see `OpenRelease.count`."""
        return self._ask(_count, where)()

    def close(self) -> None:
        """End the processes; searches under way must have ended."""
        for process in self._processes:
            process.shutdown(wait=False)

    def _ask(self, work: Callable[..., T], what: object) -> Callable[[], T]:
        """Give work to the process whose turn it is; the result is called for the answer."""
        number = next(self._turn) % len(self._processes)
        process = self._processes[number]
        try:
            future = process.submit(work, what)
        except BrokenProcessPool:
            future = Future[T]()
            future.set_exception(BrokenProcessPool())

        def answer() -> T:
            try:
                return future.result()
            except BrokenProcessPool:
                try:
                    return self._replaced(number, process).submit(work, what).result()
                except BrokenProcessPool as exc:
                    raise ReleaseError(
                        "a process that searches has ended twice; the retriever's log says why."
                    ) from exc

        return answer

    def _replaced(self, number: int, ended: "_Process") -> "_Process":
        with self._replacing:
            if self._processes[number] is ended:
                process = _Process()
                process.submit(_open, self._manifest, self._paths).result()
                self._processes[number] = process
            return self._processes[number]


class _Process(ProcessPoolExecutor):
    """One process."""

    def __init__(self) -> None:
        # Not a fork: threads of the parent may hold locks.
        super().__init__(1, multiprocessing.get_context("spawn"), _prepare)


_opened: list[OpenRelease] = []


def _prepare() -> None:
    # Ctrl-C reaches the whole group; who is draining still searches.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _open(manifest: ReleaseManifest, paths: PathSettings) -> None:
    _opened.append(open_index(manifest, paths))


def _search(requests: Sequence[SearchRequest]) -> list[list[Hit]]:
    return _opened[0].search(requests)


def _count(where: Mapping[str, Any] | None) -> int:
    return _opened[0].count(where)
