"""Talking to the vLLM server over its unix socket."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx

from bentos.generator.protocol import ErrorKind, GenerationEvent, GenerationRequest
from bentos.generator.vllm_server import SERVED_NAME

__all__ = ["VllmClient"]

_PATH = "/v1/chat/completions"
# A prompt may wait for its turn; pieces of a running answer follow each other much faster.
_READ_TIMEOUT_S = 300.0
_HEALTH_TIMEOUT_S = 10.0


class VllmClient:
    """Streams completions; closing a stream ends the generation."""

    def __init__(self, socket: Path | None = None, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(
            transport=transport or httpx.AsyncHTTPTransport(uds=str(socket), limits=httpx.Limits(max_connections=None)),
            base_url="http://vllm",
            timeout=httpx.Timeout(_READ_TIMEOUT_S, connect=5.0),
        )

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Generate; the last event is `done` or `error`, whatever happens."""
        done = False
        last = GenerationEvent(kind="done")
        try:
            async with self._client.stream("POST", _PATH, json=request.body(SERVED_NAME)) as response:
                if response.status_code != 200:
                    yield _refused(response.status_code, (await response.aread()).decode("utf-8", "replace"))
                    return
                async for line in response.aiter_lines():
                    if not line.startswith("data:"):
                        continue
                    data = line[5:].strip()
                    if data == "[DONE]":
                        done = True
                        break
                    event = _parse(json.loads(data), last)
                    if event.kind == "error":
                        yield event
                        return
                    if event.text:
                        yield event
                    last = event.model_copy(update={"kind": "done", "text": ""})
        except httpx.ConnectError as exc:
            yield GenerationEvent(kind="error", error="not_ready", text=f"{type(exc).__name__}: {exc}")
            return
        except (httpx.HTTPError, json.JSONDecodeError, KeyError, IndexError, TypeError) as exc:
            yield GenerationEvent(kind="error", error="failed", text=f"{type(exc).__name__}: {exc}")
            return
        if done:
            yield last
        else:
            yield GenerationEvent(kind="error", error="failed", text="vLLM ended the stream without [DONE]")

    async def probe(self) -> GenerationEvent:
        """Try a completion of one token; gives its last event."""
        request = GenerationRequest(messages=[{"role": "user", "content": "Hello"}], max_tokens=1)
        last = GenerationEvent(kind="error", error="failed", text="no answer")
        async for event in self.stream(request):
            last = event
        return last

    async def is_healthy(self) -> bool:
        """Ask whether the engine lives; it may still be unable to generate."""
        try:
            return (await self._client.get("/health", timeout=_HEALTH_TIMEOUT_S)).status_code == 200
        except httpx.TimeoutException:
            # A busy server answers late; only a refusal says that the engine is dead.
            return True
        except httpx.HTTPError:
            return False

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _parse(chunk: dict[str, Any], last: GenerationEvent) -> GenerationEvent:
    if "error" in chunk:
        return GenerationEvent(kind="error", error="failed", text=json.dumps(chunk["error"])[:500])
    usage = chunk.get("usage") or {}
    choice = chunk["choices"][0] if chunk.get("choices") else {}
    reason = choice.get("finish_reason")
    return GenerationEvent(
        kind="text",
        text=(choice.get("delta") or {}).get("content") or "",
        finish_reason=("length" if reason == "length" else "stop") if reason else last.finish_reason,
        prompt_tokens=usage.get("prompt_tokens", last.prompt_tokens),
        completion_tokens=usage.get("completion_tokens", last.completion_tokens) or 0,
    )


def _refused(status: int, text: str) -> GenerationEvent:
    kind: ErrorKind = "failed"
    if status in {429, 503}:
        kind = "busy"
    elif status == 400 and "context length" in text:
        kind = "too_long"
    return GenerationEvent(kind="error", error=kind, text=f"vLLM answered {status}: {text[:500]}")
