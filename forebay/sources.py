"""Sources: the files of a folder, or one file, as units of reading, and a fingerprint that tells of changes."""

import os
from dataclasses import dataclass
from pathlib import Path

from forebay.documents import content_hash
from forebay.errors import ConfigurationError

__all__ = ["FORMATS", "GOLDEN_FILES", "ReadUnit", "list_source", "source_fingerprint"]

FORMATS = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".jsonl": "jsonl",
}
"""File endings and the format they are read as."""

GOLDEN_FILES = ("queries.jsonl", "qrels.tsv")
"""Files at the top of a source in BEIR's layout that hold its golden questions; they are no documents."""

_RANGE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ReadUnit:
    """A file, or the lines of a JSONL file that start within a range of its bytes."""

    path: bytes
    """The file, as the operating system names it."""
    uri: str
    """The file below the source, printable."""
    format: str
    """One of the values of `FORMATS`, or `unsupported`."""
    start: int
    """First byte of the range."""
    end: int
    """Byte after the range."""


def list_source(source: Path) -> list[ReadUnit]:
    """List every file of a source, except hidden ones and the golden questions; links are not followed.

    Raises:
        ConfigurationError: there is no such folder or file, or it can't be read.
    """
    if source.is_file():
        path = os.fsencode(source.absolute())
        return _units(path, os.path.basename(path))
    if not source.is_dir():
        raise ConfigurationError(
            f"there is no folder {str(source)!r}; give the folder, or the file, that holds the documents."
        )
    units: list[ReadUnit] = []
    for folder, folders, files in os.walk(os.fsencode(source.absolute()), onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith(b"."))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if not name.startswith(b".") and not os.path.islink(path):
                units += _units(path, os.path.relpath(path, os.fsencode(source.absolute())))
    return units


def source_fingerprint(source: Path) -> str:
    """Hash the names, sizes and modification times of a source's files, without reading them.

    Raises:
        ConfigurationError: there is no such folder or file, or it can't be read.
    """
    parts: list[str] = []
    for path in dict.fromkeys(unit.path for unit in list_source(source)):
        status = os.lstat(path)
        parts.append(f"{path!r} {status.st_size} {status.st_mtime_ns}")
    return content_hash(*parts)


def _raise(error: OSError) -> None:
    raise ConfigurationError(f"the folder {error.filename!r} can't be read ({error.strerror}).") from error


def _units(path: bytes, relative: bytes) -> list[ReadUnit]:
    uri = relative.decode("utf-8", "backslashreplace")
    if uri in GOLDEN_FILES:
        return []
    format_name = FORMATS.get(Path(uri).suffix.lower(), "unsupported")
    size = os.lstat(path).st_size
    step = _RANGE_BYTES if format_name == "jsonl" else max(size, 1)
    return [ReadUnit(path, uri, format_name, start, min(start + step, size)) for start in range(0, max(size, 1), step)]
