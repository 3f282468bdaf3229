"""PowerPoint presentations (Office Open XML)."""

from collections.abc import Iterator
from typing import Any

from spark_jobs.parse_documents.readers.contract import Extracted
from spark_jobs.parse_documents.readers.joining import join_pages
from spark_jobs.parse_documents.readers.package import open_package

__all__ = ["read_pptx"]

# PowerPoint's own title of a presentation that was given none.
_NO_TITLE = "PowerPoint Presentation"


def read_pptx(data: bytes) -> Extracted:
    """Read every slide as a page: its title, texts, tables and notes.

    Raises:
        UnparsableError: it is no PPTX presentation, encrypted, damaged, or unpacks too far.
    """
    import pptx

    presentation = pptx.Presentation(open_package(data, "a PPTX presentation"))
    slides = list(presentation.slides)
    properties = presentation.core_properties
    author = properties.author.strip()
    title = properties.title.strip()
    if title in ("", _NO_TITLE):
        title = next(filter(None, map(_title, slides)), "")
    text = join_pages("\n\n".join(_parts(slide)) for slide in slides)
    return Extracted(text, "pages", title, {"author": author} if author else {})


def _title(slide: Any) -> str:
    shape = slide.shapes.title
    return "" if shape is None else " ".join(shape.text_frame.text.split())


def _parts(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    yield from filter(None, [_title(slide)])
    for shape in _shapes(slide.shapes):
        # python-pptx makes a new object for each access.
        if title is not None and shape.shape_id == title.shape_id:
            continue
        yield from filter(str.strip, _of_shape(shape))
    notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    if notes is not None and notes.text.strip():
        yield f"Notes: {notes.text.strip()}"


def _shapes(shapes: Any) -> Iterator[Any]:
    for shape in shapes:
        # Only groups have shapes of their own.
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _of_shape(shape: Any) -> Iterator[str]:
    if shape.has_text_frame:
        yield shape.text_frame.text
    elif shape.has_table:
        rows = ([" ".join(cell.text.split()) for cell in row.cells] for row in shape.table.rows)
        yield "\n".join(" | ".join(cells) for cells in rows)
