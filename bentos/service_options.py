"""BentoML options that all services have."""

from typing import Any

__all__ = ["SERVICE_OPTIONS"]

SERVICE_OPTIONS: dict[str, Any] = {
    "workers": 1,
    # BentoML builds a span per request and per streamed piece even when nothing samples them: 0.5 ms each.
    "tracing": {"excluded_urls": ".*"},
    "logging": {"access": {"enabled": False}},
    # `__is_ready__` asks the services behind. BentoML would ask them again, through a client whose session it closes
    # every 100 requests while others still use it (BentoML#5540).
    "runner_probe": {"enabled": False},
}
