"""What the canary answered: failures in a row end it here, and searches are compared with the current release."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from bentos.retriever.holding import Opened
from bentos.retriever.protocol import SearchItem, SearchOutcome
from bentos.retriever.switching import ReleaseFollower
from forebay.canary.observations import Observation
from forebay.canary.trials import Canary, CanaryRegistry
from forebay.store import Hit

__all__ = ["CanaryTraffic"]

logger = logging.getLogger("forebay.retriever")

# So many failures in a row end the canary in this process; callers got the current release's answers.
_MAX_FAILURES = 5
# Comparisons that wait; under load others are left out, which favours neither release.
_MAX_WAITING = 16
# Far more than a verdict needs: an end to the file where nobody gives one.
_MAX_QUESTIONS = 20_000
_BEST = 10


class CanaryTraffic:
    """Takes the canary's answers and asks some of the searches again, of both releases and alone, in the background."""

    def __init__(
        self,
        follower: ReleaseFollower,
        canaries: CanaryRegistry,
        search: Callable[[Opened, SearchItem], SearchOutcome],
        min_relevance: float,
    ) -> None:
        self._follower, self._canaries = follower, canaries
        self._search, self._min_relevance = search, min_relevance
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_MAX_WAITING)
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="canary")
        self._trial_id = ""
        self._failures = 0
        self._seen: set[str] = set()

    def note(self, canary: Canary, item: SearchItem, answer: SearchOutcome) -> None:
        """Take an answer of the canary."""
        if answer.error == "bad_filter":
            return
        question = canary.question_hash(item.question)
        with self._lock:
            if canary.trial_id != self._trial_id:
                self._trial_id, self._failures, self._seen = canary.trial_id, 0, set()
            self._failures = self._failures + 1 if answer.error else 0
            is_broken = self._failures == _MAX_FAILURES
            is_wanted = question not in self._seen and len(self._seen) < _MAX_QUESTIONS
            if is_wanted and self._room.acquire(blocking=False):
                self._seen.add(question)
                self._background.submit(self._compare, canary, item, answer)
        if is_broken:
            self._follower.give_up_canary(canary, f"{_MAX_FAILURES} searches in a row failed")

    def wait(self) -> None:
        """Wait until all that was taken is compared."""
        self._background.submit(lambda: None).result()

    def close(self) -> None:
        """End; what waits is not compared."""
        self._background.shutdown(cancel_futures=True)

    def _compare(self, canary: Canary, item: SearchItem, answer: SearchOutcome) -> None:
        try:
            with self._follower.lease_canary() as beside, self._follower.lease() as current:
                if beside is None or current is None or beside[0].trial_id != canary.trial_id:
                    return
                if current.release.manifest.release_id == canary.against:
                    self._canaries.note(canary, self._observe(canary, item, answer, (beside[1], current)))
        except OSError:
            logger.exception("a search of the canary can't be noted")
        finally:
            self._room.release()

    def _observe(
        self, canary: Canary, item: SearchItem, answer: SearchOutcome, releases: tuple[Opened, Opened]
    ) -> Observation:
        question = canary.question_hash(item.question)
        # Whoever is asked first warms the processor's caches, so they take turns.
        order = (0, 1) if int(question, 16) % 2 else (1, 0)
        answers, ms = [answer, answer], [0.0, 0.0]
        for which in order:
            began = time.perf_counter()
            answers[which] = self._search(releases[which], item)
            ms[which] = 1000 * (time.perf_counter() - began)
        has_failed = any(outcome.error for outcome in (*answers, answer))
        # What the caller would have got counts, not the repetition.
        answers[0] = answer
        new, old = (opened.release.manifest for opened in releases)
        # Cosines of two models, or of vectors cut to other lengths, say nothing about each other.
        is_comparable = (new.embedding, new.reduction) == (old.embedding, old.reduction)
        limit = self._min_relevance if is_comparable else -1.0
        nearest = (_nearest(answers[0].hits), _nearest(answers[1].hits))
        return Observation(
            question=question,
            failed=(answers[0].error is not None, answers[1].error is not None),
            poor=(_is_poor(answers[0].hits, limit), _is_poor(answers[1].hits, limit)),
            similarity=nearest if is_comparable else (None, None),
            ms=None if has_failed else (ms[0], ms[1]),
            overlap10=_overlap(answers[0].hits, answers[1].hits),
        )


def _nearest(hits: Sequence[Hit]) -> float | None:
    return max((hit.similarity for hit in hits if hit.similarity is not None), default=None)


def _is_poor(hits: Sequence[Hit], limit: float) -> bool:
    nearest = _nearest(hits)
    return not hits or (nearest is not None and nearest < limit)


def _overlap(new: Sequence[Hit], old: Sequence[Hit]) -> float | None:
    """Give the share of the old release's best documents that are among the new one's; chunks may be cut otherwise."""
    found, known = ({hit.doc_id for hit in hits[:_BEST]} for hits in (new, old))
    return len(found & known) / len(known) if known else None
