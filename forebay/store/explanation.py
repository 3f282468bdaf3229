"""What a search did on its way from a question to its hits: legs, fusion, feedback, filter and times."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forebay.reranking.contract import Reranked
from forebay.store.contract import Hit
from forebay.store.filters import Filter
from forebay.store.fusion import Fusion
from forebay.store.query_rules import QueryRules

__all__ = ["Candidate", "Explanation", "Round", "Stopwatch"]


@dataclass(frozen=True)
class Candidate:
    """A passage in a ranking."""

    chunk_id: str
    """Id of the chunk."""
    doc_id: str
    """Id of its document."""
    title: str
    """Title of the document."""
    score: float
    """The ranking's own; higher is nearer."""


@dataclass(frozen=True)
class Round:
    """What the index was asked once, and what came of it."""

    legs: Mapping[str, Sequence[Candidate]]
    """What each leg found over all shards, by the leg's name, best first."""
    fused: Sequence[Candidate]
    """The legs' rankings joined, best first; what lacks a quoted phrase is gone."""

    def ranks(self, chunk_id: str) -> dict[str, int]:
        """Give a passage's rank, from 1, in each leg that found it."""
        return {name: rank for name, found in self.legs.items() if (rank := _rank(found, chunk_id))}

    def fused_rank(self, chunk_id: str) -> int | None:
        """Give a passage's rank, from 1, in the joined ranking; None where it isn't."""
        return _rank(self.fused, chunk_id)


@dataclass(frozen=True)
class Explanation:
    """How one search found its hits."""

    where: Filter | None
    """What the search was restricted to, access of the caller included; None: nothing."""
    rules: QueryRules
    """What the question's wording asked for."""
    fusion: Fusion
    """How legs were joined, where a round had more than one."""
    left_out: Sequence[str]
    """Words that BM25 looked for no candidates by, because they stand in very many chunks; feedback scores by them."""
    rounds: Sequence[Round]
    """The question as it was asked; where feedback was used, also the question moved towards its first hits."""
    hits: Sequence[Hit]
    """What the search gives, best first."""
    steps_ms: Mapping[str, float]
    """Time of each step, in the order of the steps."""
    reranked: Reranked | None = None
    """What the reranker made of the hits of the last round; None where there is none."""


class Stopwatch:
    """Measures the steps of a piece of work, one after the other."""

    def __init__(self) -> None:
        self.steps_ms: dict[str, float] = {}
        """Time of each step so far."""
        self._began = time.perf_counter()

    def stop(self, step: str) -> None:
        """End a step; the next one begins now."""
        now = time.perf_counter()
        self.steps_ms[step] = (now - self._began) * 1000
        self._began = now


def _rank(found: Sequence[Candidate], chunk_id: str) -> int | None:
    return next((rank for rank, candidate in enumerate(found, start=1) if candidate.chunk_id == chunk_id), None)
