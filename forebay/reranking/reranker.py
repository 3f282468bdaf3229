"""Reranking the hits of several searches together, in batches, inside a time budget."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forebay.chunks import embedded_text
from forebay.reranking.contract import EncodedPair, PairScorer, Reranked, RerankStatus
from forebay.store.contract import Hit, SearchMode

__all__ = ["Reranker", "is_reranked"]

logger = logging.getLogger("forebay.reranking")

_WARM_UP_TOKENS = 256
_WARM_UP_PAIRS = 8
# Weight of the last batch in the running estimate: half, so that a machine that turns slow is believed at once.
_LAST_WEIGHT = 0.5
# What is skipped measures nothing. So that one slow moment doesn't end reranking for good, every skipped call makes the
# estimate a little smaller, until a batch is tried again.
_FADING = 0.95


def is_reranked(mode: SearchMode, diversity: float) -> bool:
    """Say whether a search is of the kind that is reranked.

    The other modes are there to see one leg's own order, and what was chosen for its diversity has an order of choice.
    """
    return mode == SearchMode.HYBRID and not diversity


@dataclass(frozen=True)
class _Pair:
    search: int
    place: int
    tokens: EncodedPair

    @property
    def length(self) -> int:
        return len(self.tokens["input_ids"])


class Reranker:
    """Scores the first hits of searches; what can't be done in time, or at all, keeps its order."""

    def __init__(
        self,
        scorer: PairScorer,
        *,
        candidates: int,
        batch_size: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Run the model once, to warm it up and to learn how fast it is.

        Args:
            scorer: The model.
            candidates: Hits of each search that it reads; those after them stay behind them.
            batch_size: Pairs that it reads at once.
            clock: Seconds; `deadline_s` is of the same clock.
        """
        self.candidates = candidates
        """Hits of each search that are read."""
        self._scorer = scorer
        self._batch_size = batch_size
        self._clock = clock
        self._s_per_token = 0.0
        self._has_failed = False
        self._warm_up()

    def now(self) -> float:
        """Read the clock that deadlines are of."""
        return self._clock()

    def rerank(self, searches: Sequence[tuple[str, Sequence[Hit]]], deadline_s: float | None = None) -> list[Reranked]:
        """Order the first `candidates` hits of each search by the model's score.

        Hits of a search are all scored, or none of them counts. Where time runs short, the last searches are given up
        first. A model that raises or gives no number costs the order, never the search; the log says so once.

        Args:
            searches: Each a question and its hits, best first.
            deadline_s: When to be done, by `now`; whenever, if None.
        """
        run = _Run(searches, self.candidates)
        try:
            self._admit(run, deadline_s)
            self._score(run, deadline_s)
        except Exception:
            # The model is a third party's, and reranking is optional: whatever it raises, the search has its hits.
            self._note_failure()
            run.fail()
            return run.results()
        if RerankStatus.FAILED in run.status:
            self._note_failure("a score is not a number")
        elif run.has_scored():
            self._has_failed = False
        return run.results()

    def _admit(self, run: "_Run", deadline_s: float | None) -> None:
        """Tokenize search after search, as many as are likely to be scored in time."""
        for search, (question, hits) in enumerate(run.searches):
            read = hits[: self.candidates]
            texts = [(question, embedded_text(hit.title, hit.heading_path, hit.text)) for hit in read]
            if self._is_late(run, deadline_s):
                break
            encoded = self._scorer.encode(texts) if texts else []
            run.add(search, [_Pair(search, place, tokens) for place, tokens in enumerate(encoded)])
            if self._is_late(run, deadline_s):
                self._give_up_last(run)
                break
        if not run.active and RerankStatus.OVER_BUDGET in run.status:
            self._s_per_token *= _FADING

    def _score(self, run: "_Run", deadline_s: float | None) -> None:
        while run.waiting:
            while run.active and self._is_late(run, deadline_s):
                self._give_up_last(run)
            batch, run.waiting = run.waiting[: self._batch_size], run.waiting[self._batch_size :]
            if not batch:
                return
            began = self._clock()
            scores = self._scorer.score([pair.tokens for pair in batch])
            self._learn(batch, self._clock() - began)
            for pair, score in zip(batch, scores.tolist(), strict=True):
                run.scores[pair.search][pair.place] = score
            run.finish()

    def _is_late(self, run: "_Run", deadline_s: float | None) -> bool:
        return deadline_s is not None and self._clock() + self._needed_s(run.waiting) > deadline_s

    def _needed_s(self, waiting: Sequence[_Pair]) -> float:
        batches = (waiting[start : start + self._batch_size] for start in range(0, len(waiting), self._batch_size))
        return sum(map(_padded_tokens, batches)) * self._s_per_token

    def _give_up_last(self, run: "_Run") -> None:
        needed_s = self._needed_s(run.waiting)
        search = run.active.pop()
        run.status[search], run.needed_s[search] = RerankStatus.OVER_BUDGET, needed_s
        run.waiting = [pair for pair in run.waiting if pair.search != search]

    def _learn(self, batch: Sequence[_Pair], taken_s: float) -> None:
        measured = taken_s / _padded_tokens(batch)
        before = self._s_per_token or measured
        self._s_per_token = _LAST_WEIGHT * measured + (1 - _LAST_WEIGHT) * before

    def _warm_up(self) -> None:
        encoded = self._scorer.encode([("warm up", "word " * _WARM_UP_TOKENS)] * min(self._batch_size, _WARM_UP_PAIRS))
        pairs = [_Pair(0, place, tokens) for place, tokens in enumerate(encoded)]
        # The first batch of a process also sets up threads and memory.
        for _ in range(2):
            began = self._clock()
            self._scorer.score(encoded)
            self._s_per_token = (self._clock() - began) / _padded_tokens(pairs)

    def _note_failure(self, reason: str = "") -> None:
        if not self._has_failed:
            detail = f": {reason}; the model is broken" if reason else ""
            logger.error(
                "reranking failed%s. Searches keep their own order; set another FOREBAY_SERVING_RERANKER, or none.",
                detail,
                exc_info=not reason,
            )
        self._has_failed = True


class _Run:
    """One call's searches, and how far each of them is."""

    def __init__(self, searches: Sequence[tuple[str, Sequence[Hit]]], candidates: int) -> None:
        self.searches = searches
        self.status = [RerankStatus.OVER_BUDGET for _ in searches]
        self.needed_s = [0.0 for _ in searches]
        self.scores = [np.full(min(len(hits), candidates), np.nan) for _, hits in searches]
        self.waiting: list[_Pair] = []
        """Pairs that have no score yet, the longest first: a batch is padded to its longest."""
        self.active: list[int] = []
        """Searches that have such pairs, in their order."""

    def add(self, search: int, pairs: list[_Pair]) -> None:
        """Take a search up; one without hits is done."""
        if not pairs:
            self.status[search] = RerankStatus.DONE
            return
        self.active.append(search)
        self.waiting = sorted([*self.waiting, *pairs], key=lambda pair: -pair.length)

    def finish(self) -> None:
        """Close the searches whose pairs have all been read."""
        left = {pair.search for pair in self.waiting}
        for search in [search for search in self.active if search not in left]:
            self.active.remove(search)
            is_whole = np.isfinite(self.scores[search]).all()
            self.status[search] = RerankStatus.DONE if is_whole else RerankStatus.FAILED

    def fail(self) -> None:
        """Close all searches that aren't done."""
        self.status = [status if status == RerankStatus.DONE else RerankStatus.FAILED for status in self.status]

    def has_scored(self) -> bool:
        """Say whether a search with hits was scored."""
        pairs = zip(self.status, self.scores, strict=True)
        return any(status == RerankStatus.DONE and len(scores) for status, scores in pairs)

    def results(self) -> list[Reranked]:
        """Give the hits of each search in their order."""
        return [
            Reranked(_ordered(hits, scores) if status == RerankStatus.DONE else hits, status, needed_s)
            for (_, hits), scores, status, needed_s in zip(
                self.searches, self.scores, self.status, self.needed_s, strict=True
            )
        ]


def _ordered(hits: Sequence[Hit], scores: np.ndarray) -> list[Hit]:
    """Put the read hits into the order of their scores, equal ones as they came, before those that weren't read."""
    order = np.argsort(-scores, kind="stable").tolist()
    read = [replace(hits[place], rerank_score=float(scores[place])) for place in order]
    return [*read, *hits[len(scores) :]]


def _padded_tokens(batch: Sequence[_Pair]) -> int:
    return len(batch) * max(pair.length for pair in batch)
