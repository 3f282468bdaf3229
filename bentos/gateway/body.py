"""Reading a request's body: limited while it arrives, then parsed, then validated."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from bentos.gateway.errors import ApiError

__all__ = ["parse_body", "read_body"]

Model = TypeVar("Model", bound=BaseModel)

# A client that is still sending reads no answer: what exceeds the limit is thrown away up to this many bytes.
_MAX_DISCARDED_BYTES = 64 * 2**20


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read the body, keeping at most `max_bytes`.

    Raises:
        ApiError: 413, the body is longer.
    """
    kept = bytearray()
    total = 0
    async for piece in request.stream():
        total += len(piece)
        if total <= max_bytes:
            kept += piece
        elif total > _MAX_DISCARDED_BYTES:
            break
    if total > max_bytes:
        raise ApiError(
            413,
            f"The request body has more than the {max_bytes} bytes that are allowed; shorten the messages.",
            code="request_too_large",
        )
    return bytes(kept)


def parse_body(body: bytes, model: type[Model]) -> Model:
    """Parse and validate a body; unknown fields are ignored.

    Raises:
        ApiError: 400, the body is not a JSON object, or a field is missing or wrong.
    """
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as exc:
        raise ApiError(400, "The request body is not valid JSON in UTF-8.", code="invalid_json") from exc
    if not isinstance(document, dict):
        raise ApiError(400, "The request body must be a JSON object.", code="invalid_json")
    try:
        return model.model_validate(document)
    except ValidationError as exc:
        raise _first_problem(exc) from exc


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _first_problem(exc: ValidationError) -> ApiError:
    problems = exc.errors(include_url=False, include_input=False)
    # Of a field that may have several types each is reported; our own sentence says more than pydantic's.
    problem = next((problem for problem in problems if problem["type"] == "value_error"), problems[0])
    param = ".".join(str(part) for part in problem["loc"] if not _is_union_branch(part)) or None
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return ApiError(400, f"The field {param!r} is required.", param=param, code="missing_required_parameter")
    if problem["type"] == "value_error":
        return ApiError(400, message, param=param, code="invalid_value")
    return ApiError(400, f"The field {param!r} is not valid: {message}.", param=param, code="invalid_value")


def _is_union_branch(part: int | str) -> bool:
    # pydantic names the branch of a union between the real steps: `str`, `list[...]`, `StreamOptions`.
    return isinstance(part, str) and (part in {"str", "int", "float", "bool"} or "[" in part)
