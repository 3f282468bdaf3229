import io
import json
from typing import Any

import httpx
import pytest
from rich.console import Console

from forebay.cli.ask import Citation, Gateway, print_answer
from forebay.errors import ServiceError

CITATION = {"n": 1, "doc_id": "d7", "title": "On Wings", "passage": "Lift grows\nwith area.", "chunk_id": "c"}
EXPECTED = Citation(number=1, title="On Wings", doc_id="d7", passage="Lift grows\nwith area.")


def gateway(reply: httpx.Response) -> tuple[Gateway, list[dict[str, Any]]]:
    asked: list[dict[str, Any]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "forebay"}]})
        asked.append(json.loads(request.content))
        return reply

    return Gateway("http://gateway.test", httpx.MockTransport(handle)), asked


def events(*documents: dict[str, Any]) -> httpx.Response:
    lines = [f"data: {json.dumps(document)}\n\n" for document in documents] + ["data: [DONE]\n\n"]
    return httpx.Response(200, text=": comment\n\n" + "".join(lines))


def test_a_stream_gives_pieces_then_citations() -> None:
    client, asked = gateway(
        events(
            {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
            {"choices": [{"delta": {"content": "More area, "}}]},
            {"choices": [{"delta": {"content": "more lift [1]."}}]},
            {"choices": [{"delta": {"citations": [CITATION]}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {}},
        )
    )
    with client:
        assert list(client.ask("Why?", stream=True)) == ["More area, ", "more lift [1].", EXPECTED]
    assert asked == [{"model": "forebay", "messages": [{"role": "user", "content": "Why?"}], "stream": True}]


def test_a_whole_answer_gives_text_then_citations() -> None:
    message = {"role": "assistant", "content": "More lift [1].", "citations": [CITATION]}
    client, _ = gateway(httpx.Response(200, json={"choices": [{"message": message}]}))
    with client:
        assert list(client.ask("Why?", stream=False)) == ["More lift [1].", EXPECTED]


def test_a_refusal_is_told_in_the_gateways_words() -> None:
    client, _ = gateway(httpx.Response(400, json={"error": {"message": "the question is empty."}}))
    with client, pytest.raises(ServiceError, match=r"HTTP 400\): the question is empty\."):
        list(client.ask(" ", stream=True))


def test_an_error_in_the_stream_is_raised_after_what_came_before() -> None:
    client, _ = gateway(
        events({"choices": [{"delta": {"content": "More"}}]}, {"error": {"message": "the generator is gone."}})
    )
    with client:
        pieces = client.ask("Why?", stream=True)
        assert next(pieces) == "More"
        with pytest.raises(ServiceError, match="the generator is gone"):
            next(pieces)


def test_something_else_on_the_port_is_one_sentence() -> None:
    client, _ = gateway(httpx.Response(200, text="<html>"))
    with client, pytest.raises(ServiceError, match="answered nonsense"):
        list(client.ask("Why?", stream=False))


def test_nobody_there_is_one_sentence() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    client = Gateway("http://gateway.test", httpx.MockTransport(refuse))
    with client, pytest.raises(ServiceError, match="`forebay serve` starts one"):
        list(client.ask("Why?", stream=True))


def test_the_answer_is_printed_with_numbered_citations() -> None:
    screen = io.StringIO()
    print_answer(iter(["More ", "lift [1].", EXPECTED]), Console(file=screen, width=80))
    assert screen.getvalue() == "More lift [1].\n\n[1] On Wings  (d7)\n    Lift grows with area.\n"
