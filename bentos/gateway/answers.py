"""Answering a question: retrieve, refuse what the corpus lacks, generate, check, fall back to quoting."""

import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from bentos.gateway.errors import ApiError
from bentos.gateway.grounding import REFUSAL, AnswerChecker, Citation, Grounding, quote_passages
from bentos.gateway.passages import Passage, relevant_passages
from bentos.gateway.prompt import build_messages
from bentos.gateway.upstream import Generation, Retrieval
from bentos.gateway.words import ContentWords
from bentos.generator.protocol import GenerationEvent, GenerationRequest
from bentos.retriever.protocol import SearchItem, SearchOutcome
from forebay.errors import ServiceError
from forebay.languages import stemmer_of
from forebay.settings import ServingSettings
from forebay.store import Caller

__all__ = ["Answer", "Answerer", "Question", "search_release"]

logger = logging.getLogger("forebay.gateway")

# More than are given to the model, because the best by fused rank need not be the nearest.
_CANDIDATES = 10


@dataclass(frozen=True)
class Question:
    """A validated question with the options that reach the model."""

    text: str
    """The question."""
    caller: Caller
    """Who asks."""
    max_tokens: int
    """Most tokens to generate."""
    temperature: float = 0.0
    """0 is greedy."""
    sampling: dict[str, Any] = field(default_factory=dict[str, Any])
    """Other sampling options, as in `GenerationRequest`."""
    rerank: bool = True
    """Whether what was found may be reranked, where there is a reranker."""


@dataclass
class Answer:
    """What is known about an answer once its text is complete."""

    release: str
    """Release that was searched."""
    grounding: Grounding
    """Where its words come from."""
    citations: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Cited passages, in the order of their numbers."""
    finish_reason: str = "stop"
    """As in the OpenAI API."""
    prompt_tokens: int = 0
    """Tokens that the model read."""
    completion_tokens: int = 0
    """Tokens that the model wrote, also those that were not shown."""


class Answerer:
    """Answers questions from the current release."""

    def __init__(self, retrieval: Retrieval, generation: Generation, settings: ServingSettings) -> None:
        self._retrieval = retrieval
        self._generation = generation
        self._settings = settings

    async def answer(self, question: Question) -> AsyncGenerator[str | Answer, None]:
        """Answer; yields pieces of text that have passed the checks, then one `Answer`.

        Raises:
            ApiError: before the first piece, retrieval or generation is not available; after it, the
                generator failed in the middle.
        """
        item = SearchItem(
            question=question.text,
            top_k=max(_CANDIDATES, self._settings.passages),
            tenant=question.caller.tenant,
            groups=sorted(question.caller.groups),
            feedback=self._settings.feedback,
            fusion=self._settings.fusion,
            section=self._settings.context_sections,
            rerank=question.rerank,
        )
        outcome = await search_release(self._retrieval, item)
        passages = relevant_passages(
            outcome.hits,
            question.text,
            partial(_words_of, outcome),
            min_similarity=self._settings.min_relevance,
            limit=self._settings.passages,
        )
        result = Answer(outcome.release, Grounding.REFUSED)
        if not passages:
            yield REFUSAL
            yield result
            return
        checker = AnswerChecker(passages, question.text, min_support=self._settings.min_support)
        async for text in self._generate(question, passages, checker, result):
            yield text
        if checker.is_empty:
            text, citations = quote_passages(passages, question.text)
            result.grounding = Grounding.EXTRACTIVE
            yield text
        else:
            citations = checker.citations
            result.grounding = Grounding.GENERATED
        result.citations = [_citation(citation, passages) for citation in citations]
        yield result

    async def _generate(
        self,
        question: Question,
        passages: Sequence[Passage],
        checker: AnswerChecker,
        result: Answer,
    ) -> AsyncGenerator[str, None]:
        request = GenerationRequest(
            messages=build_messages(passages, question.text, max_tokens=self._settings.context_tokens),
            max_tokens=question.max_tokens,
            temperature=question.temperature,
            **question.sampling,
        )
        stream = self._generation.stream(request)
        try:
            async for event in stream:
                if event.kind == "error":
                    _raise_or_quote(event, checker)
                    return
                result.prompt_tokens = event.prompt_tokens
                result.completion_tokens = event.completion_tokens
                if event.kind == "done":
                    result.finish_reason = event.finish_reason or "stop"
                    break
                for text in checker.feed(event.text):
                    yield text
                if checker.is_done:
                    break
        finally:
            await stream.aclose()
        for text in checker.finish(was_cut=result.finish_reason == "length"):
            yield text


async def search_release(retrieval: Retrieval, item: SearchItem) -> SearchOutcome:
    """Search, with the errors that a client may see.

    Raises:
        ApiError: 400 for a bad filter, 503 where there is no release, none that can be searched, or no retriever.
    """
    try:
        outcome = await retrieval.search(item)
    except ServiceError as exc:
        logger.warning("retrieval failed", exc_info=True)
        raise ApiError.unavailable("The retriever does not answer; try again shortly.", code="retriever_down") from exc
    if outcome.error == "no_release":
        raise ApiError.unavailable(outcome.message, code="no_release")
    if outcome.error == "unavailable":
        raise ApiError.unavailable(outcome.message, code="release_unavailable")
    if outcome.error == "bad_filter":
        raise ApiError(400, f"The filter can't be used: {outcome.message}", param="filter", code="invalid_filter")
    if outcome.error is not None:
        raise ApiError(500, "The search failed; the retriever's log says why.", kind="server_error", code="failed")
    return outcome


def _raise_or_quote(event: GenerationEvent, checker: AnswerChecker) -> None:
    """Turn a generator's error into the client's; a prompt that is too long is answered by quoting."""
    if event.error == "not_ready":
        raise ApiError.unavailable("The generator is not ready yet; try again shortly.", code="generator_not_ready")
    if event.error == "busy":
        raise ApiError.unavailable("Too many answers are being generated; try again shortly.", code="overloaded")
    logger.warning("the generator failed: %s", event.text)
    if event.error == "too_long" and checker.is_empty:
        return
    raise ApiError.unavailable("The generator failed while it was answering; try again.", code="generator_failed")


def _words_of(outcome: SearchOutcome, language: str) -> ContentWords:
    """Give the content words of a document's language as the release's stemmers read them."""
    return _words(stemmer_of(language, outcome.language, outcome.fallback_language))


# One for each language that there is.
@cache
def _words(stemmer: str) -> ContentWords:
    return ContentWords(stemmer)


def _citation(citation: Citation, passages: Sequence[Passage]) -> dict[str, Any]:
    hit, part = passages[citation.position].hit, passages[citation.position].parts[citation.part]
    return {
        "n": citation.n,
        "doc_id": hit.doc_id,
        "title": hit.title,
        "chunk_id": part.chunk_id,
        "passage": part.overlap + part.text,
        "source": hit.source,
        "uri": hit.uri,
        "page": hit.page or None,
        "locations": list(hit.locations),
        "heading_path": hit.heading_path,
        "start_char": part.start_char - len(part.overlap),
        "end_char": part.end_char,
    }
