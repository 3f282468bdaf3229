"""markdown-it's parser of blocks, ended where its look ahead would take time with the square of a document's length."""

import re
from bisect import bisect_left
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, reference
from markdown_it.token import Token

__all__ = ["LINE_END", "TangledError", "block_tokens"]

LINE_END = re.compile(r"\r\n?|\n")
"""What ends a line for markdown-it."""
_STEPS = 100_000
_STEPS_PER_LINE = 5
"""Each level of nested quotes looks at its lines once; few long texts have more levels throughout."""
_MAX_DEFINITION_LINES = 1000


class TangledError(Exception):
    """A Markdown document's blocks can't be told in linear time."""


def block_tokens(text: str) -> list[Token]:
    """Parse the blocks of a Markdown document; what lies inside of lines isn't parsed.

    Raises:
        TangledError: its quotes make the parser look ahead again and again.
    """
    lines = LINE_END.split(text)
    blank = [number for number, line in enumerate(lines) if not line.strip()]
    return _parser().parse(text, {"steps": _STEPS + _STEPS_PER_LINE * len(lines), "blank": blank})


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark").disable("inline")
    parser.block.ruler.at("blockquote", _quote, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    parser.block.ruler.at("reference", _definition)
    return parser


def _quote(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if not silent and blockquote(state, start, end, True):
        state.env["steps"] -= _lines_ahead(state, start, end, state.env["steps"])
        if state.env["steps"] < 0:
            raise TangledError
    return blockquote(state, start, end, silent)


def _lines_ahead(state: StateBlock, start: int, end: int, most: int) -> int:
    """Count the lines that the rule looks at, which may be many more than the quote has: up to one more than `most`.

    It takes every line that could go on a paragraph for one that does, whether the quote ends with a paragraph or not.
    """
    rules = state.md.block.ruler.getRules("blockquote")
    before, state.parentType = state.parentType, "blockquote"
    is_bare = _is_bare(state, start)
    number = start + 1
    while number < end and not state.isEmpty(number) and number - start <= most:
        is_quoted = state.sCount[number] >= state.blkIndent and _begins_quote(state, number)
        if is_quoted:
            is_bare = _is_bare(state, number)
        elif is_bare or any(rule(state, number, end, True) for rule in rules):
            break
        number += 1
    state.parentType = before
    return number - start


def _begins_quote(state: StateBlock, line: int) -> bool:
    return state.src.startswith(">", state.bMarks[line] + state.tShift[line])


def _is_bare(state: StateBlock, line: int) -> bool:
    return not state.src[state.bMarks[line] + state.tShift[line] + 1 : state.eMarks[line]].strip()


def _definition(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    # The rule copies a title that doesn't end for each of its lines.
    blank = state.env["blank"]
    place = bisect_left(blank, start)
    last = blank[place] if place < len(blank) else end
    return last - start <= _MAX_DEFINITION_LINES and reference(state, start, end, silent)
