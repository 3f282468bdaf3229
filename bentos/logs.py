"""Where the services' own log lines go."""

import logging

__all__ = ["show_own_logs"]


def show_own_logs() -> None:
    """Send what `forebay.*` loggers say through BentoML's handlers, which else serve `bentoml.*` only."""
    own = logging.getLogger("forebay")
    own.setLevel(logging.INFO)
    own.handlers = list(logging.getLogger("bentoml").handlers) or [logging.StreamHandler()]
    own.propagate = False
