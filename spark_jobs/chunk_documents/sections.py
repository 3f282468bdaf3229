"""Split a Markdown document at its headings, and one with pages between them."""

from dataclasses import dataclass
from itertools import pairwise

from spark_jobs.chunk_documents.markdown_parser import LINE_END, TangledError, block_tokens

__all__ = ["MAX_PATH_CHARS", "Section", "sections_of"]

MAX_PATH_CHARS = 200
"""Longest title or path of headings that a chunk is given."""

_SEPARATOR = " > "


@dataclass(frozen=True)
class Section:
    """A stretch of a document's text under one path of headings."""

    heading_path: str
    """Headings from the outermost to the innermost, joined by ` > `, up to `MAX_PATH_CHARS`; empty before the first."""
    start: int
    """First character, behind the heading."""
    end: int
    """Character after the last."""
    page: int = 0
    """Page, from 1; 0 where the document has no pages."""


def sections_of(text: str, format_name: str) -> list[Section]:
    """Find the sections of a document, blank ones left out.

    Args:
        text: Its text.
        format_name: `markdown` is split at its headings, `pages` at form feeds; anything else is one section.
    """
    if format_name == "pages":
        return _pages(text)
    if format_name != "markdown":
        return [Section("", 0, len(text))]
    # Offsets of markdown-it's lines: it ends lines at \n, \r\n and \r.
    starts = _line_starts(text)
    try:
        tokens = block_tokens(text)
    except TangledError:
        # Only a text that is made to hang parsers; it is cut without its headings.
        return [Section("", 0, len(text))]
    sections: list[Section] = []
    headings: list[tuple[int, str]] = []
    start = 0
    for token, inline in pairwise(tokens):
        # Only headings at the top level divide; one in a list or a quotation belongs to it.
        if token.type != "heading_open" or token.level != 0 or token.map is None:
            continue
        first, after = token.map
        sections.append(Section(_path(headings), start, starts[first]))
        level = int(token.tag[1:])
        heading = inline.content.strip()[:MAX_PATH_CHARS]
        headings = [entry for entry in headings if entry[0] < level] + [(level, heading)]
        start = starts[min(after, len(starts) - 1)]
    sections.append(Section(_path(headings), start, len(text)))
    return [section for section in sections if text[section.start : section.end].strip()]


def _pages(text: str) -> list[Section]:
    sections: list[Section] = []
    start = 0
    for number, page in enumerate(text.split("\f"), 1):
        # A blank page has no section, but it counts.
        if page.strip():
            sections.append(Section("", start, start + len(page), number))
        start += len(page) + 1
    return sections


def _path(headings: list[tuple[int, str]]) -> str:
    # Every section has a path of its own: it must not be as long as the document.
    return _SEPARATOR.join(heading for _, heading in headings)[:MAX_PATH_CHARS]


def _line_starts(text: str) -> list[int]:
    return [0, *(end.end() for end in LINE_END.finditer(text)), len(text)]
