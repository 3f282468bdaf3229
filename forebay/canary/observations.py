"""What retrievers note about a canary: searches that were asked of both releases, one JSON line each."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Observation", "Observations", "note", "read_observations"]


class Observation(BaseModel):
    """One search as both releases answered it, or a retriever's notice that it gave the canary up.

    Pairs are (canary, current release).
    """

    model_config = ConfigDict(frozen=True)

    question: str = ""
    """Keyed hash of the question: the words themselves aren't kept."""
    failed: tuple[bool, bool] = (False, False)
    """Whether the search failed."""
    poor: tuple[bool, bool] = (False, False)
    """Whether it found nothing, or nothing near enough; a search that failed found nothing."""
    similarity: tuple[float | None, float | None] = (None, None)
    """Cosine similarity of the nearest hit."""
    ms: tuple[float, float] | None = None
    """Time of the search, asked alone; none where one of them failed."""
    overlap10: float | None = None
    """Share of the ten best hits of the current release that are among the canary's; none where it has none."""
    given_up: str = ""
    """Why this retriever no longer searches the canary; empty in all other lines."""


class Observations(BaseModel):
    """What all retrievers noted about one canary."""

    searches: list[Observation]
    """One for each different question, however many processes were asked it, and however often."""
    given_up: list[str]
    """Why retrievers gave the canary up."""


def note(folder: Path, observation: Observation) -> None:
    """Append a line to this process's file; every process and every replica has its own, so none waits for another.

    Raises:
        OSError: it can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    line = observation.model_dump_json(exclude_defaults=True)
    with (folder / f"{socket.gethostname()}-{os.getpid()}.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")


def read_observations(folder: Path) -> Observations:
    """Read the files of all processes; a line that was torn by the end of its process is left out."""
    searches: dict[str, Observation] = {}
    given_up: list[str] = []
    for observation in _lines(folder):
        if observation.given_up:
            given_up.append(observation.given_up)
        else:
            # The first answer counts: a question that many people ask is no more evidence than any other.
            searches.setdefault(observation.question, observation)
    return Observations(searches=list(searches.values()), given_up=given_up)


def _lines(folder: Path) -> Iterator[Observation]:
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                yield Observation.model_validate_json(line)
            except ValidationError:
                continue
