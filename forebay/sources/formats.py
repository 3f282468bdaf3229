"""File endings, the format that each is read as, and cutting a file into units."""

import posixpath

from forebay.sources.contract import ReadUnit

__all__ = ["FORMATS", "GOLDEN_FILES", "format_of", "is_range", "units_of_file"]

FORMATS = {
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".adoc": "text",
    ".log": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".xml": "xml",
    ".eml": "mail",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""File endings and the format they are read as."""

GOLDEN_FILES = ("queries.jsonl", "qrels.tsv")
"""Files at the top of a source in BEIR's layout that hold its golden questions; they are no documents."""

_RANGE_BYTES = 16 * 2**20


def format_of(name: str) -> str:
    """Tell a format by a file's name; `unsupported` where the ending is unknown."""
    return FORMATS.get(posixpath.splitext(name)[1].lower(), "unsupported")


def units_of_file(uri: str, address: bytes, version: str, size_bytes: int) -> list[ReadUnit]:
    """Make the units of one file: ranges of bytes where its lines are documents, else the whole."""
    if uri in GOLDEN_FILES:
        return []
    format_name = format_of(uri)
    step = _RANGE_BYTES if format_name == "jsonl" else max(size_bytes, 1)
    return [
        ReadUnit(uri, format_name, version, address, start, min(start + step, size_bytes))
        for start in range(0, max(size_bytes, 1), step)
    ]


def is_range(unit: ReadUnit) -> bool:
    """Say whether a unit may be one range of several: all must be of the version that was listed to fit together."""
    return unit.format == "jsonl" and (unit.start > 0 or unit.end - unit.start == _RANGE_BYTES)
