"""Reranking what a batch of searches found, within the time that its callers can spare."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from bentos.retriever.protocol import SearchItem, SearchOutcome
from forebay.errors import ModelError
from forebay.reranking import Reranked, Reranker, RerankStatus, is_reranked
from forebay.reranking.cross_encoder import load_reranker
from forebay.settings import PathSettings, ServingSettings
from forebay.store import Hit

__all__ = ["Reranking"]

logger = logging.getLogger("forebay.retriever")


class Reranking:
    """The reranker that the settings name, in a thread of its own; without one, hits stay as they are.

    A thread of its own, because questions have to be embedded meanwhile; one, because every thread that computes gets
    OpenMP helpers, and those of several would outnumber the cores.
    """

    def __init__(self, settings: ServingSettings, paths: PathSettings) -> None:
        """Load the model; where it can't be, searches are answered without it, and the log says what to do."""
        self._budget_s = settings.reranker_budget_ms / 1000
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reranking")
        self._problem = ""
        self._reranker: Reranker | None = None
        # In that thread, for the number of threads that compute is the thread's own.
        loading = self._thread.submit(load_reranker, settings, paths, threads=os.cpu_count() or 1)
        try:
            self._reranker = loading.result()
        except ModelError as exc:
            # A sentence for a person; the frames say nothing more.
            logger.error("searches are not reranked: %s", exc)  # noqa: TRY400
            self._problem = "The reranker can't be loaded, so hits keep their own order; the retriever's log says why."

    @property
    def problem(self) -> str:
        """A sentence about why nothing is reranked though a model is set; empty if there is nothing wrong."""
        return self._problem

    def widened(self, item: SearchItem) -> SearchItem:
        """Ask the index for as many hits as are read."""
        if self._reranker is None or not _is_wanted(item):
            return item
        return item.model_copy(update={"top_k": max(item.top_k, self._reranker.candidates)})

    def reranked(self, items: Sequence[SearchItem], outcomes: Sequence[SearchOutcome]) -> list[SearchOutcome]:
        """Order the hits of those items that want it anew, and cut them to what each asked for.

        The budget begins now: waiting for other searches to be reranked is part of it.
        """
        wanted = [n for n, item in enumerate(items) if _is_wanted(item) and outcomes[n].error is None]
        found = dict(zip(wanted, self._asked([(items[n].question, outcomes[n].hits) for n in wanted]), strict=True))
        return [
            outcome.model_copy(update={"hits": list(found[n].hits)[: items[n].top_k], "rerank": found[n].status})
            if n in found
            else outcome
            for n, outcome in enumerate(outcomes)
        ]

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _asked(self, searches: Sequence[tuple[str, Sequence[Hit]]]) -> list[Reranked]:
        if self._reranker is None:
            status = RerankStatus.UNAVAILABLE if self._problem else RerankStatus.OFF
            return [Reranked(hits, status) for _, hits in searches]
        if not searches:
            return []
        working = self._thread.submit(self._reranker.rerank, searches, self._reranker.now() + self._budget_s)
        wait([working], self._budget_s)
        # What has begun keeps to the deadline by itself.
        if working.cancel():
            return [Reranked(hits, RerankStatus.OVER_BUDGET) for _, hits in searches]
        return working.result()


def _is_wanted(item: SearchItem) -> bool:
    return item.rerank and is_reranked(item.mode, item.diversity)
