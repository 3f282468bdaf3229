"""Following the release pointers: a new release is opened beside the old one, then takes its place.

Beside the current release there may be a canary, which is held in a place of its own.
"""

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from bentos.retriever.holding import Opened, Place
from forebay.canary.observations import Observation
from forebay.canary.trials import Canary, CanaryRegistry
from forebay.errors import ReleaseError
from forebay.releases import ReleaseManifest, ReleaseRegistry

__all__ = ["Opened", "ReleaseFollower"]

logger = logging.getLogger("forebay.retriever")

# A canary that can't be opened so often, half a minute in all, is given up.
_OPEN_ATTEMPTS = 3
_NO_RELEASE = "There is no release yet. Ingest documents first (`make ingest`)."
_STARTING = "The retriever has just started and looks for its release; try again shortly."

# So many failures in a row are looked into: one question that fails must not take the release away from all others.
_SUSPICIOUS_FAILURES = 3

_DAMAGED = "The canary's pointer is damaged; the retriever's log says where it is."


class ReleaseFollower:
    """Holds the current release and the canary; searches under way keep the one they began with open until they end."""

    def __init__(
        self,
        registry: ReleaseRegistry,
        open_release: Callable[[ReleaseManifest], Opened],
        canaries: CanaryRegistry | None = None,
        probe: Callable[[Opened], bool] | None = None,
    ) -> None:
        """Follow the pointers of a registry.

        Args:
            registry: The releases.
            open_release: Opens one.
            canaries: Without them there is never a canary.
            probe: Says whether an open release can still be searched; without it nothing is ever found to fail.
        """
        lock = threading.Lock()
        self._registry, self._canaries = registry, canaries
        self._current = Place(registry, open_release, lock)
        self._beside = Place(registry, open_release, lock)
        self._canary: Canary | None = None
        self._given_up = ""
        self._why_none = _STARTING
        self._canary_problem = ""
        self._probe = probe
        self._failed_searches = 0
        self._is_failing = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def problem(self) -> str:
        """A sentence about why the current release, or the canary, isn't served; empty if they are."""
        if self._is_failing and (manifest := self.manifest) is not None:
            return f"Searches of release {manifest.release_id} fail; the retriever's log says why."
        return self._current.problem or ("" if self.manifest else self._why_none) or self._canary_problem

    @property
    def is_ready(self) -> bool:
        """Whether a release is open and can be searched."""
        return self.manifest is not None and not self._is_failing

    @property
    def manifest(self) -> ReleaseManifest | None:
        """Manifest of the current release as it is served; None without one."""
        return self._current.manifest

    @property
    def canary(self) -> Canary | None:
        """The canary that is served; None without one."""
        return self._canary

    @contextmanager
    def lease(self) -> Generator[Opened | None, None, None]:
        """Give the current release and keep it open meanwhile; None without one."""
        with self._current.lease() as opened:
            yield opened

    @contextmanager
    def lease_canary(self) -> Generator[tuple[Canary, Opened] | None, None, None]:
        """Give the canary and keep it open meanwhile; None without one."""
        canary = self._canary
        if canary is None:
            yield None
            return
        with self._beside.lease() as opened:
            is_it = opened is not None and opened.release.manifest.release_id == canary.release_id
            yield (canary, opened) if opened is not None and is_it else None

    def note_searches(self, *, failed: bool) -> None:
        """Take notice of whether all searches of a batch failed on the current release."""
        self._failed_searches = self._failed_searches + 1 if failed else 0

    def refresh(self) -> bool:
        """Look at the pointers once, and switch where they name other releases; says whether the current one did.

        A release that can't be opened is logged and the one before keeps serving. One whose searches keep failing is
        probed until it can be searched again.
        """
        wanted = self._registry.current_id()
        # Opening takes seconds, and a retriever that was killed opens the release of before again.
        self._why_none = f"Release {wanted} is being opened; try again shortly." if wanted else _NO_RELEASE
        switched = wanted is not None and self._follow_current(wanted)
        if switched:
            self._failed_searches, self._is_failing = 0, False
        elif self._failed_searches >= _SUSPICIOUS_FAILURES:
            self._look_into_failures()
        if self._canaries is not None:
            self._follow_canary(self._canaries)
        return switched

    def give_up_canary(self, canary: Canary, reason: str) -> None:
        """Search a canary no more, whatever the pointer says, and note why: it is rolled back then."""
        logger.error("canary %s is no longer searched: %s", canary.release_id, reason)
        self._given_up = canary.trial_id
        self._drop_canary()
        if self._canaries is None:
            return
        try:
            self._canaries.note(canary, Observation(given_up=reason))
        except OSError:
            logger.exception("that the canary was given up can't be noted")

    def start(self, poll_s: float) -> None:
        """Follow the pointers in a thread, looking every `poll_s` seconds."""

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
        """Stop following and close the releases once their last searches have ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._drop_canary()
        self._current.empty()

    def _follow_current(self, wanted: str) -> bool:
        manifest, beside = self._current.manifest, self._beside.manifest
        is_beside = beside is not None and beside.release_id == wanted
        if is_beside and (manifest is None or manifest.release_id != wanted):
            self._canary = None
            self._current.take_over(self._beside)
        elif not self._current.want(wanted):
            return False
        if (served := self._current.manifest) is not None:
            logger.info("serving release %s (%d chunks)", wanted, served.chunks)
        return True

    def _follow_canary(self, canaries: CanaryRegistry) -> None:
        try:
            canary = canaries.current()
        except ReleaseError as exc:
            if self._canary_problem != _DAMAGED:
                logger.error("%s", exc)  # noqa: TRY400 - the sentence says it all
            self._canary_problem, canary = _DAMAGED, None
        else:
            self._canary_problem = ""
        served = self._current.manifest
        # Beside another release than its own, for that can't be opened, it would be compared with the wrong one.
        if canary is None or served is None or served.release_id != canary.against:
            self._drop_canary()
        elif canary.trial_id != self._given_up:
            self._open_canary(canary)

    def _look_into_failures(self) -> None:
        with self.lease() as opened:
            if opened is None or self._probe is None:
                return
            failed = not self._probe(opened)
        if failed and not self._is_failing:
            logger.error("release %s can't be searched any more", opened.release.manifest.release_id)
        self._is_failing = failed
        if not failed:
            self._failed_searches = 0

    def _open_canary(self, canary: Canary) -> None:
        if self._beside.want(canary.release_id):
            logger.info("serving canary %s (%.0f%% of the searches)", canary.release_id, 100 * canary.share)
        self._canary_problem = self._beside.problem
        if self._beside.failures >= _OPEN_ATTEMPTS:
            self.give_up_canary(canary, "it can't be opened; the retriever's log says why")
        elif not self._beside.problem and canary.trial_id != self._given_up:
            self._canary = canary

    def _drop_canary(self) -> None:
        self._canary = None
        self._beside.empty()
