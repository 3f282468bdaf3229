"""Errors as clients see them: the OpenAI error shape, a status, and a sentence that helps."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

__all__ = ["ApiError", "JsonResponse", "error_body"]


class ApiError(Exception):
    """A refusal whose text is meant for the client."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, kind=kind, param=param, code=code)
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}

    @classmethod
    def unavailable(cls, message: str, *, code: str, retry_after_s: int = 5) -> "ApiError":
        """Build a 503 that says when to come back."""
        return cls(503, message, kind="service_unavailable", code=code, retry_after_s=retry_after_s)

    def response(self) -> Response:
        """Build the HTTP response."""
        return JsonResponse(self.body, self.status, self.headers)


class JsonResponse(Response):
    """JSON that any string survives: half of a surrogate pair becomes a question mark instead of an error."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status_code, headers)

    def render(self, content: Any) -> bytes:
        """Serialise."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def error_body(
    message: str, *, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Build the error object of the OpenAI API."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
