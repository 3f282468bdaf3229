"""Word documents (Office Open XML)."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from spark_jobs.parse_documents.readers.cells import markdown_table
from spark_jobs.parse_documents.readers.contract import Extracted
from spark_jobs.parse_documents.readers.joining import join_bounded
from spark_jobs.parse_documents.readers.package import open_package

if TYPE_CHECKING:
    from docx.document import Document

__all__ = ["read_docx"]

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_PARAGRAPH, _TABLE, _ROW, _CELL, _TEXT = (_W + name for name in ("p", "tbl", "tr", "tc", "t"))
_BREAKS = {_W + "tab": "\t", _W + "br": "\n", _W + "cr": "\n", _W + "noBreakHyphen": "-"}
# Wrappers of content: content controls, tracked insertions, custom markup.
_WRAPPERS = {_W + name for name in ("sdt", "sdtContent", "ins", "moveTo", "smartTag", "customXml")}
# Formatting, deleted text, and the copy of a text box for old versions of Word.
_LEFT_OUT = {_W + name for name in ("pPr", "rPr", "del", "moveFrom", "sdtPr")} | {
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
}
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_MAX_LEVEL = 6
_NOTES = ("/footnotes", "/endnotes")


def read_docx(data: bytes) -> Extracted:
    """Read headings, paragraphs, lists, tables and notes as Markdown; headers and footers are left out.

    Raises:
        UnparsableError: it is no DOCX document, encrypted, damaged, or unpacks too far.
    """
    import docx

    document = docx.Document(open_package(data, "a DOCX document"))
    blocks = _Blocks(document)
    text = join_bounded(blocks.of(document.element.body))
    notes = join_bounded(block for notes in _notes(document) for block in blocks.of(notes))
    properties = document.core_properties
    author = properties.author.strip()
    metadata = {"author": author} if author else {}
    return Extracted(
        join_bounded([text, notes]), "markdown", properties.title.strip() or blocks.first_heading, metadata
    )


def _notes(document: "Document") -> Iterator[Any]:
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] (compiled, without stubs)

    for relation in document.part.rels.values():
        if not relation.is_external and relation.reltype.endswith(_NOTES):
            parser = etree.XMLParser(resolve_entities=False, no_network=True)
            yield from etree.fromstring(relation.target_part.blob, parser)


class _Blocks:
    """Turns the children of a body, in order, into blocks of Markdown."""

    def __init__(self, document: "Document") -> None:
        self.first_heading = ""
        self._levels, self._lists = _styles(document)

    def of(self, parent: Any) -> Iterator[str]:
        """Give the blocks below an element."""
        for child in _inside(parent, _PARAGRAPH, _TABLE):
            if child.tag == _TABLE:
                yield markdown_table([_cells(row) for row in _inside(child, _ROW)])
            else:
                yield self._paragraph(child)

    def _paragraph(self, paragraph: Any) -> str:
        text = "".join(_texts(paragraph)).strip()
        style = paragraph.find(f"{_W}pPr/{_W}pStyle")
        style = "" if style is None else style.get(_W + "val", "")
        level = self._levels.get(style, 0)
        if level and text:
            text = " ".join(text.split())
            self.first_heading = self.first_heading or text
            return "#" * level + " " + text
        if text and (style in self._lists or paragraph.find(f"{_W}pPr/{_W}numPr") is not None):
            return "- " + text
        return text


def _styles(document: "Document") -> tuple[dict[str, int], set[str]]:
    """Find the levels of the styles that are headings, or are based on one, and the styles of lists."""
    levels: dict[str, int] = {}
    lists: set[str] = set()
    for style in document.styles:
        name, base = style.name or "", style
        # A chain of styles; a damaged file may close it to a ring.
        for _ in range(_MAX_LEVEL):
            heading = _HEADING.fullmatch(base.name or "")
            if heading or base.name == "Title":
                levels[style.style_id] = min(int(heading[1]), _MAX_LEVEL) if heading else 1
                break
            base = getattr(base, "base_style", None)
            if base is None:
                break
        if name.startswith(("List Bullet", "List Number")):
            lists.add(style.style_id)
    return levels, lists


def _inside(parent: Any, *tags: str) -> Iterator[Any]:
    for child in parent:
        if child.tag in tags:
            yield child
        elif child.tag in _WRAPPERS:
            yield from _inside(child, *tags)


def _cells(row: Any) -> list[str]:
    return ["".join(_texts(cell)) for cell in _inside(row, _CELL)]


def _texts(element: Any) -> Iterator[str]:
    for child in element:
        tag = child.tag
        if tag in (_TEXT, _MATH_TEXT):
            yield child.text or ""
        elif tag in _BREAKS:
            yield _BREAKS[tag]
        elif isinstance(tag, str) and tag not in _LEFT_OUT:
            yield from _texts(child)
            if tag == _PARAGRAPH:
                yield "\n"
