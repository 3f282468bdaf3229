"""BentoML options of the services behind the gateway."""

from typing import Any

__all__ = ["INNER_SERVICE", "QUIET"]

QUIET: dict[str, Any] = {
    # BentoML builds a span per request and per streamed piece even when nothing samples them: 0.5 ms each.
    "tracing": {"excluded_urls": ".*"},
    "logging": {"access": {"enabled": False}},
}

INNER_SERVICE: dict[str, Any] = {
    **QUIET,
    # By default the caller's session is closed and rebuilt every 100 requests while others still use it:
    # 12-19 % of the requests failed at 32 in flight (BentoML#5540).
    "runner_connection": {"max_requests": 10**12, "max_age": 1e12},
    "workers": 1,
}
