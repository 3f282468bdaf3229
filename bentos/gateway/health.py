"""What works and what doesn't, in one document."""

import asyncio
from typing import Any

from bentos.gateway.upstream import Generation, Retrieval

__all__ = ["is_ready", "report_health"]


async def report_health(retrieval: Retrieval, generation: Generation) -> tuple[bool, dict[str, Any]]:
    """Ask the services behind the gateway.

    Returns:
        Whether questions can be answered, and the document that says so or says why not.
    """
    retriever, generator = await asyncio.gather(retrieval.status(), generation.status())
    ready = retriever.ready and generator.ready
    problems = [status.detail for status in (retriever, generator) if not status.ready and status.detail]
    if retriever.ready and retriever.detail:
        problems.append(retriever.detail)
    document = {
        "status": "ok" if ready else "unavailable",
        "problems": problems,
        "retriever": retriever.model_dump(),
        "generator": generator.model_dump(),
    }
    return ready, document


async def is_ready(retrieval: Retrieval, generation: Generation) -> bool:
    """Say whether questions can be answered."""
    ready, _ = await report_health(retrieval, generation)
    return ready
