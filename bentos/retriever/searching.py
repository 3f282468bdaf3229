"""Answering a batch of searches: a call to embed and one to search for each release, one to rerank, errors per item."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from bentos.retriever.protocol import SearchItem, SearchOutcome
from bentos.retriever.reranking import Reranking
from bentos.retriever.switching import Opened, ReleaseFollower
from forebay.embedding.sentence_transformer import load_embedder
from forebay.errors import FilterError, ForebayError
from forebay.releases import ReleaseManifest
from forebay.settings import PathSettings
from forebay.store import Hit, SearchMode, SearchRequest
from forebay.store.filters import parse_filter
from forebay.store.opening import open_index
from forebay.store.search_processes import SearchProcesses

if TYPE_CHECKING:
    from bentos.retriever.canary_traffic import CanaryTraffic

__all__ = ["answer_batch", "answer_on", "is_searchable", "open_release"]

logger = logging.getLogger("forebay.retriever")

_WARM_UP = SearchItem(question="warm up")

# A question is too short to gain from more threads (20 tokens: 13 ms with one, 11 ms with two).
_THREADS = min(2, os.cpu_count() or 1)
# One thread embeds, warm-ups included: an embedder isn't safe for concurrent calls, and every thread that computes
# gets OpenMP helpers of its own. Once all of them outnumber the cores, libgomp puts them to sleep after each step:
# 130 sleeps and 14 ms a question instead of 8 ms (2 cores).
_embedding = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding")


def open_release(manifest: ReleaseManifest, paths: PathSettings, processes: int = 0) -> Opened:
    """Open a release with the embedder of its own spec, and search it so that no user waits for a first search.

    Every process gets one of these searches.

    Args:
        manifest: The release.
        paths: Where shards and models lie.
        processes: Processes that search its shards; 0: this one does. What lies in a cluster is never searched by them.

    Raises:
        ConfigurationError: the settings of the cluster that it lies in are wrong.
        ReleaseError: a shard is missing or damaged, or the cluster doesn't answer.
        ModelError: the embedding model is not there.
        SpecMismatchError: its files are not those that the release was built with.
    """
    # A frozen pydantic model is hashable, which its type doesn't say.
    embedder = load_embedder(manifest.embedding, paths.models, threads=_THREADS)  # pyright: ignore[reportArgumentType]
    is_here = manifest.index.store == "embedded"
    index = SearchProcesses(manifest, paths, processes) if processes and is_here else open_index(manifest, paths)
    opened = Opened(index, embedder)
    try:
        _search(opened, [_WARM_UP] * max(1, processes))
    except BaseException:
        opened.release.close()
        raise
    return opened


def answer_batch(
    follower: ReleaseFollower,
    items: Sequence[SearchItem],
    *,
    traffic: "CanaryTraffic | None" = None,
    reranking: Reranking | None = None,
) -> list[SearchOutcome]:
    """Answer several searches, each on one release: the canary answers its share, the current release all others.

    What fails on the canary is answered by the current release.

    Args:
        follower: The releases.
        items: The searches.
        traffic: Takes what the canary answered; without it no search goes there.
        reranking: Orders what was found anew.

    Returns:
        One outcome per item, in order.
    """
    if reranking is None:
        return _answered(follower, items, traffic)
    # No release is needed any more while its hits are reranked.
    return reranking.reranked(items, _answered(follower, [reranking.widened(item) for item in items], traffic))


def _answered(
    follower: ReleaseFollower, items: Sequence[SearchItem], traffic: "CanaryTraffic | None"
) -> list[SearchOutcome]:
    outcomes = {} if traffic is None else _answer_on_canary(follower, items, traffic)
    rest = [position for position in range(len(items)) if position not in outcomes]
    if rest:
        with follower.lease() as opened:
            if opened is None:
                others = [SearchOutcome(error="no_release", message=follower.problem) for _ in rest]
            else:
                others = answer_on(opened, [items[position] for position in rest])
                follower.note_searches(failed=all(outcome.error == "failed" for outcome in others))
                if not follower.is_ready:
                    others = [_unavailable(outcome, follower.problem) for outcome in others]
        outcomes.update(zip(rest, others, strict=True))
    return [outcomes[position] for position in range(len(items))]


def answer_on(opened: Opened, items: Sequence[SearchItem]) -> list[SearchOutcome]:
    """Answer several searches on one release, which the caller keeps open.

    Returns:
        One outcome per item, in order.
    """
    manifest = opened.release.manifest
    base = SearchOutcome(
        release=manifest.release_id,
        language=manifest.index.bm25_language,
        fallback_language=manifest.index.bm25_fallback_language,
    )
    errors = {position: message for position, item in enumerate(items) if (message := _filter_error(item))}
    good = [position for position in range(len(items)) if position not in errors]
    found = dict(zip(good, _search_safely(opened, [items[position] for position in good], base), strict=True))
    return [
        found[position]
        if position in found
        else base.model_copy(update={"error": "bad_filter", "message": errors[position]})
        for position in range(len(items))
    ]


def is_searchable(opened: Opened) -> bool:
    """Say whether an open release can be searched."""
    return answer_on(opened, [_WARM_UP])[0].error is None


def _unavailable(outcome: SearchOutcome, problem: str) -> SearchOutcome:
    if outcome.error != "failed":
        return outcome
    return outcome.model_copy(update={"error": "unavailable", "message": problem})


def _answer_on_canary(
    follower: ReleaseFollower, items: Sequence[SearchItem], traffic: "CanaryTraffic"
) -> dict[int, SearchOutcome]:
    """Answer the canary's share of some searches; what fails there is left out."""
    with follower.lease_canary() as beside:
        if beside is None:
            return {}
        canary, opened = beside
        chosen = [position for position, item in enumerate(items) if canary.takes(item.question)]
        answers = answer_on(opened, [items[position] for position in chosen])
    for position, answer in zip(chosen, answers, strict=True):
        traffic.note(canary, items[position], answer)
    return {position: answer for position, answer in zip(chosen, answers, strict=True) if answer.error != "failed"}


def _filter_error(item: SearchItem) -> str:
    try:
        parse_filter(item.filter)
    except FilterError as exc:
        return str(exc)
    return ""


def _search_safely(opened: Opened, items: Sequence[SearchItem], base: SearchOutcome) -> list[SearchOutcome]:
    try:
        return [base.model_copy(update={"hits": hits}) for hits in _search(opened, items)]
    except (ForebayError, RuntimeError, ValueError) as exc:
        if len(items) == 1:
            # A store need not have all of the language.
            if isinstance(exc, FilterError):
                return [base.model_copy(update={"error": "bad_filter", "message": str(exc)})]
            logger.exception("a search failed")
            message = "the search failed; the retriever's log says why."
            return [base.model_copy(update={"error": "failed", "message": message})]
    # One item spoilt the batch: each gets its own try.
    return [outcome for item in items for outcome in _search_safely(opened, [item], base)]


def _search(opened: Opened, items: Sequence[SearchItem]) -> list[list[Hit]]:
    if not items:
        return []
    vectors = _vectors(opened, items)
    requests = [_request(item, vector) for item, vector in zip(items, vectors, strict=True)]
    return opened.release.search(requests)


def _request(item: SearchItem, vector: np.ndarray) -> SearchRequest:
    return SearchRequest(
        text=item.question,
        vector=vector,
        top_k=item.top_k,
        mode=item.mode,
        where=item.filter,
        caller=item.caller,
        feedback=item.feedback,
        fusion=item.fusion,
        diversity=item.diversity,
        neighbours=item.neighbours,
        section=item.section,
    )


def _vectors(opened: Opened, items: Sequence[SearchItem]) -> np.ndarray:
    """Embed the questions that need a vector; the others get zeros."""
    vectors = np.zeros((len(items), opened.release.manifest.embedding.dim), np.float32)
    dense = [position for position, item in enumerate(items) if item.mode != SearchMode.BM25]
    if dense:
        questions = [items[position].question for position in dense]
        vectors[dense] = _embedding.submit(opened.embedder.embed_queries, questions).result()
    return vectors
