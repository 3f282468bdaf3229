"""A place for one open release: it is filled, exchanged and emptied while searches go on."""

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from bentos.retriever.problems import describe_failure
from forebay.embedding import Embedder
from forebay.releases import ReleaseManifest, ReleaseRegistry
from forebay.store import OpenRelease

__all__ = ["Opened", "Place"]

logger = logging.getLogger("forebay.retriever")

# A release that could not be opened may be repaired in place: it is tried again this many polls later.
_RETRY_POLLS = 15


@dataclass(frozen=True)
class Opened:
    """An open release and the embedder of its spec."""

    release: OpenRelease
    """Ready to be searched."""
    embedder: Embedder
    """Model that its vectors were made with."""


class _Held:
    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.users = 0
        self.is_retired = False


class Place:
    """Holds one release; searches under way keep the one they began with open until they end."""

    def __init__(
        self, registry: ReleaseRegistry, open_release: Callable[[ReleaseManifest], Opened], lock: threading.Lock
    ) -> None:
        self._registry = registry
        self._open = open_release
        # One for all places, so that a release that moves from one to the other is counted rightly.
        self._lock = lock
        self._held: _Held | None = None
        self._failed_id: str | None = None
        self._problem = ""
        self._polls_to_retry = 0
        self.failures = 0
        """How often in a row the release that is wanted could not be opened."""

    @property
    def manifest(self) -> ReleaseManifest | None:
        """Manifest of the release that is held; None without one."""
        held = self._held
        return held.opened.release.manifest if held else None

    @property
    def problem(self) -> str:
        """A sentence about a release that can't be opened; empty without one. Anybody may read it."""
        return self._problem

    @contextmanager
    def lease(self) -> Generator[Opened | None, None, None]:
        """Give the release and keep it open meanwhile; None without one."""
        with self._lock:
            held = self._held
            if held is not None:
                held.users += 1
        try:
            yield held.opened if held else None
        finally:
            if held is not None:
                self._give_back(held)

    def want(self, release_id: str) -> bool:
        """Open a release beside the one that is held, and exchange them; says whether it did.

        A release that can't be opened is logged, and tried again some calls later.
        """
        manifest = self.manifest
        if manifest is not None and manifest.release_id == release_id:
            self._forget_failure()
            return False
        if release_id == self._failed_id and self._polls_to_retry > 0:
            self._polls_to_retry -= 1
            return False
        try:
            opened = self._open(self._registry.load(release_id))
        except Exception as exc:
            # Whatever it is: the release before goes on, and the thread that follows the pointer with it.
            self._note_failure(release_id, exc)
            return False
        self._exchange(_Held(opened))
        return True

    def take_over(self, other: "Place") -> None:
        """Hold what another place holds, which is empty then; it isn't opened again."""
        with self._lock:
            held, other._held = other._held, None
        self._exchange(held)

    def empty(self) -> None:
        """Close the release once its last search has ended."""
        self._exchange(None)

    def _exchange(self, held: _Held | None) -> None:
        with self._lock:
            old, self._held = self._held, held
            if old is not None:
                old.is_retired = True
            close_now = old is not None and old.users == 0
        self._forget_failure()
        if old is not None and close_now:
            old.opened.release.close()

    def _give_back(self, held: _Held) -> None:
        with self._lock:
            held.users -= 1
            close_now = held.is_retired and held.users == 0
        if close_now:
            held.opened.release.close()

    def _forget_failure(self) -> None:
        self._failed_id, self._problem, self.failures = None, "", 0

    def _note_failure(self, release_id: str, exc: Exception) -> None:
        if release_id != self._failed_id:
            self.failures = 0
            logger.error("release %s can't be served: %s", release_id, exc)
        self._failed_id, self._polls_to_retry = release_id, _RETRY_POLLS
        self._problem = describe_failure(release_id, exc)
        self.failures += 1
