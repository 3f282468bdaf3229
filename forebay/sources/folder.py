"""A local folder, or one local file."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.sources.contract import Changes, ReadUnit, Record, Rejected, UnreadableError
from forebay.sources.formats import is_range, units_of_file
from forebay.sources.listing import listing_cursor
from forebay.sources.names import printable
from forebay.sources.records import steady_records
from forebay.sources.unit_list import UnitList

__all__ = ["FolderSource"]


# A pipe or a device in the place of a file would be waited for without end.
_AS_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


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
        units = UnitList.of(self._units())
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
        with self._opened(unit.address) as stream:
            before = unit.version if is_range(unit) else _version(os.fstat(stream.fileno()))

            def require_unchanged() -> None:
                if _version(os.fstat(stream.fileno())) != before:
                    detail = "the file was written to while it was read; the next run reads it again"
                    raise UnreadableError(RejectionReason.CHANGED_WHILE_READ, detail)

            yield from steady_records(unit, stream, max_bytes, require_unchanged)

    def _opened(self, path: bytes) -> BinaryIO:
        """Open what was listed as a file, folder by folder, and nothing that has taken its place or its folder's."""
        root = os.fsencode(self._folder)
        if not path.startswith(root + b"/"):
            root = os.path.dirname(path)
        *folders, name = path[len(root) :].strip(b"/").split(b"/")
        descriptor = os.open(root, _AS_FOLDER)
        try:
            for folder in folders:
                descriptor = _below(descriptor, folder, _AS_FOLDER | os.O_NOFOLLOW)
            descriptor = _below(descriptor, name, _AS_FILE)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _replaced()
            return os.fdopen(descriptor, "rb")
        except BaseException as exc:
            os.close(descriptor)
            if isinstance(exc, OSError) and exc.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _replaced() from exc
            raise

    def _identity(self) -> tuple[int, int] | None:
        """Tell this folder from another one that takes its place, such as an empty mount point."""
        try:
            status = self._folder.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _units(self) -> Iterator[ReadUnit]:
        if self._folder.is_file():
            yield from _file_units(os.fsencode(self._folder.resolve()), os.fsencode(self._folder.name))
            return
        if not self._folder.is_dir():
            raise ConfigurationError(
                f"there is no folder {str(self._folder)!r}; give the folder, or the file, that holds the documents."
            )
        root = os.fsencode(self._folder)
        # Not os.walk, which calls itself for every level in Python 3.11.
        waiting = [b""]
        while waiting:
            below = waiting.pop()
            folders: list[bytes] = []
            for name, is_folder in _entries(os.path.join(root, below)):
                if is_folder:
                    folders.append(os.path.join(below, name))
                else:
                    yield from _file_units(os.path.join(root, below, name), os.path.join(below, name))
            waiting += reversed(folders)


def _entries(folder: bytes) -> list[tuple[bytes, bool]]:
    """Give the names in a folder that are not hidden, in their order, and whether they are folders; links are none."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not entry.name.startswith(b".")
            )
    except OSError as exc:
        raise _unlisted(exc) from exc


def _file_units(path: bytes, relative: bytes) -> list[ReadUnit]:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        # Gone since the folder was listed.
        return []
    except OSError as exc:
        raise _unlisted(exc) from exc
    if not stat.S_ISREG(status.st_mode):
        return []
    return units_of_file(printable(relative), path, _version(status), status.st_size)


def _version(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _unlisted(error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the folder {error.filename!r} can't be read ({error.strerror}); mend that and run again: what is not listed "
        "would be deleted."
    )


def _below(folder: int, name: bytes, flags: int) -> int:
    """Open what lies in an open folder, which is closed then."""
    descriptor = os.open(name, flags, dir_fd=folder)
    os.close(folder)
    return descriptor


def _replaced() -> UnreadableError:
    detail = "there is no file in its place since it was listed, or a link before it; the next run reads what is there"
    return UnreadableError(RejectionReason.CHANGED_WHILE_READ, detail)
