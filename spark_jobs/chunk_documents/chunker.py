"""Cut one document: by headings, then by paragraphs and sentences, within a budget of the model's tokens."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import semchunk

from forebay.chunks import CHUNKER_VERSION, ChunkLimits, embedded_text
from forebay.documents import content_hash
from spark_jobs.chunk_documents.sections import MAX_PATH_CHARS, Section, sections_of

__all__ = ["Chunker", "Piece", "chunker_fingerprint"]

_MIN_TEXT_TOKENS = 32
_CACHED_COUNTS = 512
# Longer texts are not even counted before they are cut.
_MAX_CHARS_PER_TOKEN = 50
# Python's own limit of calls is 1,000: so many characters have at most 447 runs of different lengths.
_BLOCK_CHARS = 100_000


def chunker_fingerprint(limits: ChunkLimits, model_revision: str) -> str:
    """Name a way of cutting; documents cut in another way are cut again."""
    return content_hash(CHUNKER_VERSION, limits.model_dump_json(exclude_none=True), model_revision)[:12]


@dataclass(frozen=True)
class Piece:
    """A chunk, as far as its document's text decides it."""

    title: str
    heading_path: str
    page: int
    text: str
    start: int
    end: int
    n_tokens: int


class Chunker:
    """Cuts documents with semchunk (sentences and clauses before words) under a token budget."""

    def __init__(self, limits: ChunkLimits, count_tokens: Callable[[str], int]) -> None:
        self._limits = limits
        # Titles, headings and pieces are counted more than once.
        self._count = lru_cache(_CACHED_COUNTS)(count_tokens)
        self._by_budget: dict[int, semchunk.Chunker] = {}

    def split(self, title: str, text: str, format_name: str) -> Iterator[Piece]:
        """Cut a document.

        Yields:
            Pieces in the order of the text; `text[start:end]` of the document is a piece's text, and its embedded
            text, title and headings included, fits `ChunkLimits.max_tokens`.
        """
        title = self._fit(title, self._limits.max_tokens // 4)
        pieces = [piece for section in sections_of(text, format_name) for piece in self._cut(title, text, section)]
        told = self._told(pieces)
        if not told:
            # Headings without text below them: then they are the text.
            pieces = list(self._cut(title, text, Section("", 0, len(text))))
            told = self._told(pieces)
        # Every document has a chunk, even one whose characters the model has no tokens for.
        yield from told or pieces[:1]

    def _told(self, pieces: list[Piece]) -> list[Piece]:
        """Leave out what the model reads nothing of, such as a page of characters that can't be seen."""
        return [piece for piece in pieces if self._count(piece.text)]

    def _cut(self, title: str, text: str, section: Section) -> Iterator[Piece]:
        heading_path = self._fit(section.heading_path, self._limits.max_tokens // 4)
        context = self._count(embedded_text(title, heading_path, ""))
        budget = max(_MIN_TEXT_TOKENS, self._limits.max_tokens - context)
        body = text[section.start : section.end]
        for start, end in self._spans(body, budget):
            piece = body[start:end]
            n_tokens = context + self._count(piece)
            first, last = section.start + start, section.start + end
            yield Piece(title, heading_path, section.page, piece, first, last, n_tokens)

    def _spans(self, body: str, budget: int) -> list[tuple[int, int]]:
        if len(body) < budget * _MAX_CHARS_PER_TOKEN and self._count(body) <= budget:
            # With an overlap, semchunk cuts even a text that fits.
            return [(len(body) - len(body.lstrip()), len(body.rstrip()))]
        overlap = min(self._limits.overlap_tokens, budget // 2) or None
        spans: list[tuple[int, int]] = []
        for first, last in _blocks(body):
            # Untyped: the result depends on the arguments in a way that semchunk annotates too widely.
            result: Any = self._splitter(budget)(body[first:last], offsets=True, overlap=overlap)
            _, offsets = result
            spans += [(first + start, first + end) for start, end in offsets]
        return [(start, end) for start, end in spans if body[start:end].strip()]

    def _splitter(self, budget: int) -> semchunk.Chunker:
        if budget not in self._by_budget:
            self._by_budget[budget] = semchunk.chunkerify(self._size, budget, memoize=False)
        return self._by_budget[budget]

    def _size(self, text: str) -> int:
        # semchunk takes steps of one character where it counts nothing, such as in characters that can't be seen.
        return max(self._count(text), len(text) // _MAX_CHARS_PER_TOKEN)

    def _fit(self, text: str, budget: int) -> str:
        text = text.strip()[:MAX_PATH_CHARS]
        while (n_tokens := self._count(text)) > budget:
            text = text[: len(text) * budget // n_tokens].strip()
        return text


def _blocks(body: str) -> Iterator[tuple[int, int]]:
    """Divide a long text where a line ends, or a word: semchunk calls itself for every length of runs of blanks."""
    start = 0
    while len(body) - start > _BLOCK_CHARS:
        end = start + _BLOCK_CHARS
        places = (body.rfind(blank, start + 1, end) for blank in ("\n", " "))
        end = next((place for place in places if place > start), end)
        yield start, end
        start = end
    yield start, len(body)
