"""`forebay explain`: search a release in this process, and print how it came to its hits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from forebay.embedding.sentence_transformer import load_embedder
from forebay.errors import ConfigurationError, FilterError, ReleaseError
from forebay.releases import ReleaseManifest, ReleaseRegistry
from forebay.reranking import Reranked, Reranker, RerankStatus, is_reranked
from forebay.reranking.cross_encoder import load_reranker
from forebay.settings import PathSettings, ServingSettings
from forebay.store.access import EVERYTHING
from forebay.store.contract import Hit, SearchMode, SearchRequest
from forebay.store.explanation import Candidate, Explanation, Stopwatch
from forebay.store.filters import And, AnyOf, Equals, Exists, Filter, InRange, Not, Or
from forebay.store.opening import open_index

__all__ = ["explain_question", "filter_text", "print_explanation", "read_filter"]

_BOUNDS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def explain_question(
    question: str,
    paths: PathSettings,
    release_id: str | None,
    *,
    mode: SearchMode,
    top_k: int,
    where: dict[str, Any],
    serving: ServingSettings,
) -> tuple[ReleaseManifest, Explanation, dict[str, float]]:
    """Open a release, the current one if none is named, and search it with access to everything.

    Args:
        question: In words.
        paths: Where releases, shards and models lie.
        release_id: The release; the current one if None.
        mode: Legs to use.
        top_k: Hits to give.
        where: Metadata filter.
        serving: Feedback, fusion, and the reranker with its budget.

    Returns:
        The release, what the search did, and the time of what came before it, in ms by step.

    Raises:
        ConfigurationError: the question is empty, or the settings of the cluster that the release lies in are wrong.
        ReleaseError: there is no such release, a part of it is missing or damaged, or the cluster doesn't answer.
        FilterError: the filter names an unknown field or has a value of the wrong type.
        ModelError: the embedding model or the reranker isn't there.
    """
    if not question.strip():
        raise ConfigurationError('the question is empty; give its words in quotes, like `forebay explain "my words"`.')
    registry = ReleaseRegistry(paths.releases)
    manifest = registry.load(release_id) if release_id else registry.current()
    if manifest is None:
        raise ReleaseError("there is no release yet; run `forebay ingest PATH` first.")
    watch = Stopwatch()
    release = open_index(manifest, paths)
    try:
        watch.stop("open the release")
        vector = np.zeros(manifest.embedding.dim, np.float32)
        # Words alone need no model.
        if mode != SearchMode.BM25:
            embedder = load_embedder(manifest.embedding, paths.models)
            watch.stop("load the model")
            (vector,) = embedder.embed_queries([question])
            watch.stop("embed the question")
        reranker = load_reranker(serving, paths) if is_reranked(mode, 0) else None
        if reranker:
            watch.stop("load the reranker")
        read = max(top_k, reranker.candidates) if reranker else top_k
        request = SearchRequest(
            question, vector, read, mode, where, EVERYTHING, feedback=serving.feedback, fusion=serving.fusion
        )
        explanation = release.explain(request)
    finally:
        release.close()
    if reranker:
        explanation = _reranked(explanation, question, reranker, serving.reranker_budget_ms, top_k)
    return manifest, explanation, watch.steps_ms


def _reranked(explanation: Explanation, question: str, reranker: Reranker, budget_ms: float, top_k: int) -> Explanation:
    """Go the retriever's last step."""
    watch = Stopwatch()
    (found,) = reranker.rerank([(question, explanation.hits)], reranker.now() + budget_ms / 1000)
    watch.stop("rerank")
    hits = list(found.hits)[:top_k]
    return replace(explanation, hits=hits, reranked=found, steps_ms={**explanation.steps_ms, **watch.steps_ms})


def read_filter(text: str | None) -> dict[str, Any]:
    """Read the JSON object of a filter; none where it is left out.

    Raises:
        FilterError: it is no JSON object.
    """
    try:
        where = json.loads(text or "{}")
    except ValueError as exc:
        raise FilterError(f'the filter {text!r} is no JSON; write it like \'{{"source": "handbook"}}\'.') from exc
    if not isinstance(where, dict):
        raise FilterError(f'the filter {text!r} is no JSON object; write it like \'{{"source": "handbook"}}\'.')
    return where


def print_explanation(
    manifest: ReleaseManifest, explanation: Explanation, before_ms: Mapping[str, float], *, top_k: int, console: Console
) -> None:
    """Print what each leg found, the hits with their ranks, the filter, and the time of each step."""
    console.print(f"release {manifest.release_id}, {manifest.chunks:,} chunks", highlight=False)
    where = "nothing" if explanation.where is None else filter_text(explanation.where)
    console.print(Text(f"restricted to: {where}"), soft_wrap=True)
    if explanation.rules.phrases:
        console.print(Text(f"required phrases: {', '.join(map(repr, explanation.rules.phrases))}"), soft_wrap=True)
    if explanation.rules.bm25_weight != 1:
        weight = f"{explanation.rules.bm25_weight:g}"
        without = "" if explanation.rules.allows_feedback else ", without feedback"
        console.print(f"the bm25 leg weighs {weight} times{without}: the question has an identifier")
    if len(explanation.rounds[-1].legs) > 1:
        console.print(f"legs joined by: {explanation.fusion}", highlight=False)
    if explanation.left_out:
        words = ", ".join(explanation.left_out)
        console.print(Text(f"common words that only feedback scores by: {words}"), soft_wrap=True)
    for number, asked in enumerate(explanation.rounds):
        for name, found in asked.legs.items():
            console.print()
            console.print(_leg_table(name + " leg" + (", after feedback" if number else ""), found, top_k))
    console.print()
    if explanation.reranked is not None:
        console.print(Text(_rerank_text(explanation.reranked)), soft_wrap=True)
    console.print(_hit_table(explanation))
    console.print()
    times = Table("step", title="time", title_justify="left", box=None, pad_edge=False)
    times.add_column("ms", justify="right")
    for step, taken_ms in {**before_ms, **explanation.steps_ms}.items():
        times.add_row(step, f"{taken_ms:,.1f}")
    console.print(times)


def filter_text(where: Filter) -> str:
    """Write a filter as a person would."""
    match where:
        case Equals(field, value):
            return f"{field} = {value!r}"
        case AnyOf(field, values):
            return f"{field} in {list(values)!r}"
        case InRange(field):
            bounds = {sign: getattr(where, name) for name, sign in _BOUNDS.items()}
            return " and ".join(f"{field} {sign} {bound:.15g}" for sign, bound in bounds.items() if bound is not None)
        case Exists(field):
            return f"{field} exists"
        case And(parts):
            return " and ".join(f"({filter_text(part)})" for part in parts)
        case Or(parts):
            return " or ".join(f"({filter_text(part)})" for part in parts)
        case Not(part):
            return f"not ({filter_text(part)})"


def _rerank_text(reranked: Reranked) -> str:
    match reranked.status:
        case RerankStatus.DONE:
            read = sum(hit.rerank_score is not None for hit in reranked.hits)
            return f"reranked: the first {read} by their rerank score"
        case RerankStatus.OVER_BUDGET:
            return (
                f"not reranked, over budget: it would take about {reranked.needed_s * 1000:,.0f} ms more. The hits "
                "keep their order; FOREBAY_SERVING_RERANKER_BUDGET_MS gives it more time, "
                "FOREBAY_SERVING_RERANKER_CANDIDATES less to read."
            )
        case _:
            return "not reranked: the model failed, as the log says. The hits keep their order."


def _leg_table(title: str, found: Sequence[Candidate], top_k: int) -> Table:
    table = Table(title=f"{title}: {len(found)} found", title_justify="left", box=None, pad_edge=False)
    for name in ("rank", "score"):
        table.add_column(name, justify="right")
    for name in ("document", "title"):
        table.add_column(name, overflow="fold")
    for rank, candidate in enumerate(found[:top_k], start=1):
        table.add_row(str(rank), f"{candidate.score:.4f}", Text(candidate.doc_id), Text(candidate.title))
    return table


def _hit_table(explanation: Explanation) -> Table:
    first, last = explanation.rounds[0], explanation.rounds[-1]
    is_fed_back = last is not first
    shown_ranks = "rank in each leg and fused" + (", and fused before feedback" if is_fed_back else "")
    is_reranked = explanation.reranked is not None and explanation.reranked.status == RerankStatus.DONE
    shown_ranks += "; by rerank score" if is_reranked else ""
    title = f"hits: {len(explanation.hits)} ({shown_ranks})"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    # Short names, so that titles have room on a narrow screen.
    columns = ["hit", "score", "similarity", *last.legs, "fused"]
    # The column `fused` is also what the rank was before reranking.
    columns += ["before"] * is_fed_back + ["rerank"] * is_reranked
    for name in columns:
        table.add_column(name, justify="right")
    for name in ("document", "title"):
        table.add_column(name, overflow="fold")
    for number, hit in enumerate(explanation.hits, start=1):
        ranks = last.ranks(hit.chunk_id)
        shown = [ranks.get(name) for name in last.legs] + [last.fused_rank(hit.chunk_id)]
        if is_fed_back:
            shown.append(first.fused_rank(hit.chunk_id))
        table.add_row(
            str(number),
            f"{hit.score:.4f}",
            "-" if hit.similarity is None else f"{hit.similarity:.4f}",
            *("-" if rank is None else str(rank) for rank in shown),
            *([_rerank_score(hit)] if is_reranked else []),
            Text(hit.doc_id),
            Text(hit.title),
        )
    return table


def _rerank_score(hit: Hit) -> str:
    return "-" if hit.rerank_score is None else f"{hit.rerank_score:.4f}"
