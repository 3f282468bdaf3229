"""Chat completions: a validated request becomes one JSON document, or a stream of server-sent events."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from bentos.gateway.answers import Answer, Answerer, Question
from bentos.gateway.draining import Drain
from bentos.gateway.errors import ApiError
from bentos.gateway.protocol import MODEL_ID, ChatRequest
from forebay.settings import GeneratorSettings, ServingSettings
from forebay.store import Caller

__all__ = ["complete", "read_question", "stream_events"]

logger = logging.getLogger("forebay.gateway")

_DEFAULT_ANSWER_TOKENS = 160


def read_question(
    request: ChatRequest, caller: Caller, serving: ServingSettings, generator: GeneratorSettings
) -> Question:
    """Take the question and the limits from a request.

    Raises:
        ApiError: 404 for another model, 400 for a missing or too long question.
    """
    if request.model != MODEL_ID:
        raise ApiError(
            404,
            f"The model {request.model[:100]!r} does not exist; this server answers as {MODEL_ID!r}.",
            param="model",
            code="model_not_found",
        )
    text = request.question
    if not text:
        raise ApiError(
            400,
            "There is no question: send a message with role 'user' and text.",
            param="messages",
            code="no_question",
        )
    if len(text) > serving.max_query_chars:
        raise ApiError(
            400,
            f"The question has {len(text)} characters; at most {serving.max_query_chars} are allowed.",
            param="messages",
            code="question_too_long",
        )
    sampling = request.model_dump(include={"top_p", "seed", "presence_penalty", "frequency_penalty"}, exclude_none=True)
    return Question(
        text=text,
        caller=caller,
        max_tokens=min(request.token_limit or _DEFAULT_ANSWER_TOKENS, generator.max_answer_tokens),
        temperature=request.temperature or 0.0,
        sampling=sampling,
        # Left out, it is as the server is set.
        rerank=request.rerank is not False,
    )


async def complete(answerer: Answerer, question: Question, drain: Drain, *, timeout_s: float) -> dict[str, Any]:
    """Answer as one `chat.completion` document.

    Raises:
        ApiError: as `Answerer.answer` and `Drain.deadline`, and 504 where the answer takes longer than `timeout_s`.
    """
    pieces: list[str] = []
    answer: Answer | None = None
    try:
        async with aclosing(_timed(answerer.answer(question), drain, timeout_s)) as steps:
            async for step in steps:
                if isinstance(step, Answer):
                    answer = step
                else:
                    pieces.append(step)
    except TimeoutError as exc:
        raise _too_slow(timeout_s) from exc
    assert answer is not None
    message = {
        "role": "assistant",
        "content": "".join(pieces),
        "refusal": None,
        "citations": answer.citations,
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return {
        **_head("chat.completion"),
        "choices": [choice],
        "usage": _usage(answer),
        "release": answer.release,
        "grounding": answer.grounding.value,
    }


async def stream_events(
    answerer: Answerer, question: Question, drain: Drain, *, wants_usage: bool, timeout_s: float
) -> AsyncGenerator[bytes, None]:
    """Answer as server-sent events; the last chunk with a choice carries citations, release and grounding.

    Raises:
        ApiError: before the first event only; a later error becomes an event of the stream.
    """
    head = _head("chat.completion.chunk")
    has_begun = False
    try:
        async with aclosing(_timed(answerer.answer(question), drain, timeout_s)) as steps:
            async for step in steps:
                if not has_begun:
                    has_begun = True
                    yield _event(head, {"role": "assistant", "content": ""})
                if isinstance(step, str):
                    yield _event(head, {"content": step})
                    continue
                extra = {"release": step.release, "grounding": step.grounding.value}
                yield _event(head | extra, {"citations": step.citations}, step.finish_reason)
                if wants_usage:
                    yield _sse({**head, "choices": [], "usage": _usage(step)})
    except (ApiError, TimeoutError) as exc:
        error = exc if isinstance(exc, ApiError) else _too_slow(timeout_s)
        if not has_begun:
            raise error from exc
        yield _sse(error.body)
        return
    except Exception:
        # The response has begun, so nobody above can still tell the client; the traceback stays here.
        if not has_begun:
            raise
        logger.exception("a stream failed")
        yield _sse(ApiError(500, "The answer failed; try again.", kind="server_error", code="internal_error").body)
        return
    yield b"data: [DONE]\n\n"


async def _timed(
    steps: AsyncGenerator[str | Answer, None], drain: Drain, timeout_s: float
) -> AsyncGenerator[str | Answer, None]:
    """Pass steps on until the deadline; set anew for each, because a stream's first step has its own task."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    async with aclosing(steps):
        while True:
            try:
                async with drain.deadline(deadline):
                    step = await anext(steps)
            except StopAsyncIteration:
                return
            yield step


def _head(kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": MODEL_ID,
    }


def _event(head: dict[str, Any], delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _sse({**head, "choices": [choice]})


def _sse(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"


def _usage(answer: Answer) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }


def _too_slow(timeout_s: float) -> ApiError:
    message = f"The answer took longer than {timeout_s:.0f} s; ask a shorter question or try again later."
    return ApiError(504, message, kind="timeout", code="timeout")
