"""A local folder, or one local file."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.sources.contract import Changes, ReadUnit, Record, Rejected, UnreadableError
from forebay.sources.formats import units_of_file
from forebay.sources.listing import listing_cursor
from forebay.sources.names import printable
from forebay.sources.records import steady_records

__all__ = ["FolderSource"]


class FolderSource:
    """The files below a folder, except hidden ones; links are not followed (see `forebay.sources.contract`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @property
    def name(self) -> str:
        """The folder's absolute path."""
        return str(self._folder)

    def changes(self, cursor: str | None = None) -> Changes:
        """List every file with its size and modification time; the cursor is a hash of them.

        Raises:
            ConfigurationError: there is no such folder, it can't be read, or it went away meanwhile.
        """
        before = self._identity()
        units = list(self._units())
        if self._identity() != before:
            # Files that were gone already would pass for deleted ones.
            raise ConfigurationError(
                f"the folder {self.name!r} went away while it was listed; see that it stays (is it mounted?), and run "
                "again."
            )
        return Changes(units, listing_cursor(units))

    def read(self, unit: ReadUnit, max_bytes: int) -> Iterator[Record | Rejected]:
        """Read a file; one that is written to meanwhile is refused.

        Raises:
            UnreadableError: it was written to, or it is gone.
            OSError: it can't be read for a reason that the operating system names.
        """
        try:
            yield from self._read(unit, max_bytes)
        except FileNotFoundError as exc:
            what = "it is" if self._folder.exists() else f"the whole folder {self.name!r} is"
            detail = f"{what} gone since it was listed; the next run reads what is there then"
            raise UnreadableError(RejectionReason.UNREADABLE, detail) from exc

    def acknowledge(self, changes: Changes, rejected: Sequence[Rejected]) -> None:
        """Do nothing: a folder keeps no account."""

    def _read(self, unit: ReadUnit, max_bytes: int) -> Iterator[Record | Rejected]:
        with open(unit.address, "rb") as stream:
            before = _version(os.fstat(stream.fileno()))

            def require_unchanged() -> None:
                if _version(os.fstat(stream.fileno())) != before:
                    detail = "the file was written to while it was read; the next run reads it again"
                    raise UnreadableError(RejectionReason.CHANGED_WHILE_READ, detail)

            yield from steady_records(unit, stream, max_bytes, require_unchanged)

    def _identity(self) -> tuple[int, int] | None:
        """Tell this folder from another one that takes its place, such as an empty mount point."""
        try:
            status = self._folder.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _units(self) -> Iterator[ReadUnit]:
        root = os.fsencode(self._folder)
        if self._folder.is_file():
            yield from _file_units(root, os.path.basename(root))
            return
        if not self._folder.is_dir():
            raise ConfigurationError(
                f"there is no folder {str(self._folder)!r}; give the folder, or the file, that holds the documents."
            )
        for folder, folders, files in os.walk(root, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith(b"."))
            below = folder[len(root) :].lstrip(b"/")
            for name in sorted(files):
                if not name.startswith(b"."):
                    yield from _file_units(os.path.join(folder, name), os.path.join(below, name))


def _file_units(path: bytes, relative: bytes) -> list[ReadUnit]:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        # Gone since the folder was listed.
        return []
    if not stat.S_ISREG(status.st_mode):
        return []
    return units_of_file(printable(relative), path, _version(status), status.st_size)


def _version(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _raise(error: OSError) -> None:
    raise ConfigurationError(
        f"the folder {error.filename!r} can't be read ({error.strerror}); mend that and run again: what is not listed "
        "would be deleted."
    ) from error
