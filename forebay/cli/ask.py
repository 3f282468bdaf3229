"""A small client of the gateway: one question, the answer as it comes, its citations."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx
from rich.console import Console

from forebay.errors import ServiceError

__all__ = ["Citation", "Gateway", "print_answer"]

_PASSAGE_CHARS = 300


@dataclass(frozen=True)
class Citation:
    """A passage that the answer names."""

    number: int
    """The n of [n] in the answer."""
    title: str
    """Title of the document."""
    doc_id: str
    """Id of the document."""
    passage: str
    """What the document says there."""


class Gateway:
    """A connection to the gateway's OpenAI-compatible API."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        # A long prompt's first token may take a laptop a while; an absent server is known at once.
        timeout = httpx.Timeout(300, connect=5)
        self._client = httpx.Client(base_url=url, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, question: str, *, stream: bool) -> Iterator[str | Citation]:
        """Ask; yields the answer's text in pieces, then its citations.

        Raises:
            ServiceError: nothing answers there, or it refuses.
        """
        try:
            body = {
                "model": self._model(),
                "messages": [{"role": "user", "content": question}],
                "stream": stream,
            }
            with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
                _raise_for_error(response)
                yield from _pieces(_events(response)) if stream else _whole(json.loads(response.read()))
        except httpx.ConnectError as exc:
            raise ServiceError(f"no gateway answers at {self._client.base_url}; `forebay serve` starts one.") from exc
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as exc:
            raise ServiceError(f"{str(self._client.base_url)!r} is no address of a gateway.") from exc
        except (httpx.HTTPError, ValueError, KeyError) as exc:
            raise ServiceError(f"the gateway at {self._client.base_url} broke off or answered nonsense.") from exc

    def _model(self) -> str:
        response = self._client.get("/v1/models")
        _raise_for_error(response)
        models = response.json()["data"]
        if not models:
            raise ServiceError("the gateway serves no model.")
        return models[0]["id"]


def _raise_for_error(response: httpx.Response) -> None:
    if response.is_success:
        return
    response.read()
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = "no reason given"
    raise ServiceError(f"the gateway refuses (HTTP {response.status_code}): {message}")


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Read server-sent events up to `[DONE]`."""
    for line in response.iter_lines():
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        if line.startswith("data:"):
            event = json.loads(data)
            if "error" in event:
                raise ServiceError(f"the gateway broke off: {event['error'].get('message', 'no reason given')}")
            yield event


def _pieces(events: Iterator[dict[str, Any]]) -> Iterator[str | Citation]:
    """Read the deltas of a stream; the last one carries the citations."""
    for event in events:
        for choice in event["choices"]:
            delta: dict[str, Any] = choice["delta"]
            if delta.get("content"):
                yield delta["content"]
            yield from _citations(delta)


def _whole(answer: dict[str, Any]) -> Iterator[str | Citation]:
    message: dict[str, Any] = answer["choices"][0]["message"]
    yield message["content"]
    yield from _citations(message)


def _citations(holder: dict[str, Any]) -> list[Citation]:
    rows: list[dict[str, Any]] = holder.get("citations") or []
    return [Citation(number=row["n"], title=row["title"], doc_id=row["doc_id"], passage=row["passage"]) for row in rows]


def print_answer(pieces: Iterator[str | Citation], console: Console | None = None) -> None:
    """Print an answer as it comes, then what it cites."""
    screen = console or Console()
    plain: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
    is_first_citation = True
    for piece in pieces:
        if isinstance(piece, str):
            screen.print(piece, end="", **plain)
            continue
        if is_first_citation:
            screen.print("\n")
            is_first_citation = False
        passage = " ".join(piece.passage.split())
        shown = passage if len(passage) <= _PASSAGE_CHARS else passage[:_PASSAGE_CHARS].rsplit(" ", 1)[0] + " ..."
        screen.print(f"[{piece.number}] {piece.title}  ({piece.doc_id})", style="bold", **plain)
        screen.print(f"    {shown}", style="dim", **plain)
    if is_first_citation:
        screen.print()
