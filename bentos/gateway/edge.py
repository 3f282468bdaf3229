"""The outermost layer: a request id on every response, and no exception text to any client."""

import logging
import uuid

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bentos.gateway.errors import ApiError

__all__ = ["Edge"]

logger = logging.getLogger("forebay.gateway")


class Edge:
    """Pure ASGI middleware, because `BaseHTTPMiddleware` hides a client's disconnect from the endpoint."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        has_begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ApiError as exc:
            await exc.response()(scope, receive, send_with_id)
        except ClientDisconnect:
            # Nobody reads it; the status is for the metrics (as nginx counts it).
            await Response(status_code=499)(scope, receive, send_with_id)
        except Exception:
            logger.exception("request %s to %s failed", request_id, scope["path"])
            if has_begun:
                raise
            error = ApiError(
                500,
                f"The request failed inside the server; its log has the details under {request_id}.",
                kind="server_error",
                code="internal_error",
            )
            await error.response()(scope, receive, send_with_id)
