"""Split a Markdown document at its headings, and one with pages between them."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt

__all__ = ["Section", "sections_of"]

_SEPARATOR = " > "


@dataclass(frozen=True)
class Section:
    """A stretch of a document's text under one path of headings."""

    heading_path: str
    """Headings from the outermost to the innermost, joined by ` > `; empty before the first."""
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
    tokens = _parser().parse(text)
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
        headings = [entry for entry in headings if entry[0] < level] + [(level, inline.content.strip())]
        start = starts[min(after, len(starts) - 1)]
    sections.append(Section(_path(headings), start, len(text)))
    return [section for section in sections if text[section.start : section.end].strip()]


@cache
def _parser() -> MarkdownIt:
    # Headings are blocks, and their text is wanted as it stands: what lies inside of lines isn't parsed.
    return MarkdownIt("commonmark").disable("inline")


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
    return _SEPARATOR.join(heading for _, heading in headings)


def _line_starts(text: str) -> list[int]:
    starts = [0]
    position = 0
    while position < len(text):
        if text.startswith("\r\n", position):
            position += 2
            starts.append(position)
        elif text[position] in "\r\n":
            position += 1
            starts.append(position)
        else:
            following = [found for found in (text.find("\n", position), text.find("\r", position)) if found >= 0]
            position = min(following) if following else len(text)
    starts.append(len(text))
    return starts
