"""Following the release pointer: a new release is opened beside the old one, then takes its place."""

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from forebay.embedding import Embedder
from forebay.errors import ForebayError
from forebay.releases import ReleaseManifest, ReleaseRegistry
from forebay.store import OpenRelease

__all__ = ["Opened", "ReleaseFollower"]

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


class ReleaseFollower:
    """Holds the current release; searches under way keep the one they began with open until they end."""

    def __init__(self, registry: ReleaseRegistry, open_release: Callable[[ReleaseManifest], Opened]) -> None:
        self._registry = registry
        self._open = open_release
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed_id: str | None = None
        self._polls_to_retry = 0
        self._problem = "There is no release yet. Ingest documents first (`make ingest`)."

    @property
    def problem(self) -> str:
        """A sentence about why the current release isn't served; empty if it is."""
        return self._problem

    @property
    def manifest(self) -> ReleaseManifest | None:
        """Manifest of the release that is served; None without one."""
        held = self._held
        return held.opened.release.manifest if held else None

    @contextmanager
    def lease(self) -> Generator[Opened | None, None, None]:
        """Give the current release and keep it open meanwhile; None without one."""
        with self._lock:
            held = self._held
            if held is not None:
                held.users += 1
        try:
            yield held.opened if held else None
        finally:
            if held is not None:
                self._give_back(held)

    def refresh(self) -> bool:
        """Look at the pointer once, and switch where it names another release; says whether it switched.

        A release that can't be opened is logged and the one before keeps serving.
        """
        wanted = self._registry.current_id()
        manifest = self.manifest
        if wanted is None or (manifest is not None and wanted == manifest.release_id):
            if wanted is not None:
                self._failed_id, self._problem = None, ""
            return False
        if wanted == self._failed_id and self._polls_to_retry > 0:
            self._polls_to_retry -= 1
            return False
        try:
            opened = self._open(self._registry.load(wanted))
        except (ForebayError, OSError, ValueError, RuntimeError, ImportError) as exc:
            self._note_failure(wanted, exc)
            return False
        self._swap(opened)
        logger.info("serving release %s (%d chunks)", wanted, opened.release.manifest.chunks)
        return True

    def start(self, poll_s: float) -> None:
        """Follow the pointer in a thread, looking every `poll_s` seconds."""

        def follow() -> None:
            while True:
                try:
                    self.refresh()
                except OSError:
                    logger.exception("the release pointer can't be read")
                if self._stopped.wait(poll_s):
                    return

        self._thread = threading.Thread(target=follow, name="release-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following and close the release once its last search has ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._swap(None)

    def _note_failure(self, release_id: str, exc: Exception) -> None:
        if release_id != self._failed_id:
            logger.error("release %s can't be served: %s", release_id, exc)
        self._failed_id, self._polls_to_retry = release_id, _RETRY_POLLS
        self._problem = f"Release {release_id} can't be opened; the retriever's log says why."

    def _swap(self, opened: Opened | None) -> None:
        with self._lock:
            old, self._held = self._held, _Held(opened) if opened else None
            close_now = False
            if old is not None:
                old.is_retired = True
                close_now = old.users == 0
        self._failed_id, self._problem = None, ""
        if old is not None and close_now:
            old.opened.release.close()

    def _give_back(self, held: _Held) -> None:
        with self._lock:
            held.users -= 1
            close_now = held.is_retired and held.users == 0
        if close_now:
            held.opened.release.close()
