"""Files of a Git repository, at the newest commit of a branch or tag."""

import io
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dulwich.errors import NotTreeError
from dulwich.object_store import iter_tree_contents, tree_lookup_path
from dulwich.objects import Commit, ObjectID

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.sources.contract import Changes, ReadUnit, Record, Rejected, UnreadableError
from forebay.sources.formats import format_of, units_of_file
from forebay.sources.git_address import GitAddress
from forebay.sources.git_mirror import BROKEN, GitMirror
from forebay.sources.git_sizes import sizes_in_bytes
from forebay.sources.names import is_hidden, printable
from forebay.sources.records import records_of

__all__ = ["GitSource"]

_TABLES = frozenset({"jsonl", "parquet"})
"""Formats whose files hold many documents."""
_MAX_TABLE_BYTES = 512 * 2**20
"""Larger files Git doesn't hold whole either (its `core.bigFileThreshold`)."""


class GitSource:
    """The files of a repository, except hidden ones; links and submodules are not followed.

    Read from a mirror on this machine, which is fetched where it is missing. The address is the operator's own
    configuration and no link that was found somewhere, so private addresses are welcome. Logins come from
    `~/.git-credentials` and ssh's own files. Files kept in Git LFS appear as the pointers that Git stores.
    """

    def __init__(self, name: str, cache: Path) -> None:
        """Take the address apart and choose the mirror's folder below `cache`; nothing is fetched.

        Raises:
            ConfigurationError: see `GitAddress.parse`.
        """
        self._name = name
        self._address = GitAddress.parse(name)
        self._mirror = GitMirror(self._address.url, cache.absolute())

    @property
    def name(self) -> str:
        """The address, such as `git+https://host/repo.git?path=docs#branch`."""
        return self._name

    def changes(self, cursor: str | None = None) -> Changes:
        """Fetch, and list every file with its blob's id; an equal cursor (commit and folder) lists nothing.

        Raises:
            ConfigurationError: the repository can't be fetched, or has no such branch or folder.
        """
        commit = self._mirror.update(self._address.branch)
        here = f"{commit.decode()}:{self._address.folder}"
        if here == cursor:
            return Changes([], here, is_snapshot=False)
        try:
            units = self._units(commit)
        except BROKEN:
            # The branch may have moved meanwhile: what is listed is then newer than the cursor, and listed again.
            units = self._units_anew()
        return Changes(units, here)

    def read(self, unit: ReadUnit, max_bytes: int) -> Iterator[Record | Rejected]:
        """Read a file; Git can't give a part of one, so it is held whole.

        Raises:
            UnreadableError: it is too large, the repository doesn't have it any more, or it can't be fetched on this
                machine.
        """
        if unit.format == "unsupported":
            yield from records_of(unit, io.BytesIO(), max_bytes)
            return
        longest = _MAX_TABLE_BYTES if unit.format in _TABLES else max_bytes
        try:
            data = self._blob(unit.address, longest)
        except BROKEN:
            data = self._fetched_blob(unit.address, longest)
        yield from records_of(unit, io.BytesIO(data), max_bytes)

    def acknowledge(self, changes: Changes, rejected: Sequence[Rejected]) -> None:
        """Do nothing: a repository keeps no account."""

    def _blob(self, sha: bytes, max_bytes: int) -> bytes:
        with self._mirror.open() as repository:
            size_bytes, *bases = sizes_in_bytes(repository.object_store, ObjectID(sha))
            if size_bytes > max_bytes:
                raise UnreadableError(RejectionReason.TOO_LARGE, f"larger than {max_bytes} bytes")
            if max(bases, default=0) > _MAX_TABLE_BYTES:
                detail = f"kept as a difference to a file larger than {_MAX_TABLE_BYTES} bytes"
                raise UnreadableError(RejectionReason.TOO_LARGE, detail)
            return repository.object_store.get_raw(ObjectID(sha))[1]

    def _fetched_blob(self, sha: bytes, max_bytes: int) -> bytes:
        try:
            self._mirror.update(self._address.branch)
            return self._blob(sha, max_bytes)
        except ConfigurationError as exc:
            raise UnreadableError(RejectionReason.UNREADABLE, str(exc)) from exc
        except BROKEN as exc:
            detail = "the newest commit doesn't hold it any more; the next run reads what it holds"
            raise UnreadableError(RejectionReason.CHANGED_WHILE_READ, detail) from exc

    def _units(self, commit: ObjectID) -> list[ReadUnit]:
        with self._mirror.open() as repository:
            store = repository.object_store
            mode, top = self._top(store, commit)
            if stat.S_ISREG(mode):
                return _file_units(store, self._address.folder.rpartition("/")[2].encode(), top)
            return [
                unit
                for entry in iter_tree_contents(store, top)
                if entry.path and entry.sha and stat.S_ISREG(entry.mode or 0) and not is_hidden(printable(entry.path))
                for unit in _file_units(store, entry.path, entry.sha)
            ]

    def _units_anew(self) -> list[ReadUnit]:
        self._mirror.discard()
        commit = self._mirror.update(self._address.branch)
        try:
            return self._units(commit)
        except BROKEN as exc:
            raise ConfigurationError(f"the Git repository {self._name!r} lacks objects; run `git fsck` there.") from exc

    def _top(self, store: Any, commit: ObjectID) -> tuple[int, ObjectID]:
        head = store[commit]
        if not isinstance(head, Commit):
            raise ConfigurationError(f"{self._name!r} names no commit; name a branch, or the tag of a commit.")
        if not self._address.folder:
            return stat.S_IFDIR, head.tree
        # A missing tree of the commit itself means that the mirror is broken.
        store[head.tree]
        try:
            mode, sha = tree_lookup_path(store.__getitem__, head.tree, self._address.folder.encode())
        except (KeyError, NotTreeError):
            mode, sha = 0, head.tree
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise ConfigurationError(
                f"there is no folder {self._address.folder!r} in {self._name!r}; give one that its newest commit has."
            )
        return mode, sha


def _file_units(store: Any, path: bytes, sha: ObjectID) -> list[ReadUnit]:
    uri = printable(path)
    size_bytes = 0 if format_of(uri) == "unsupported" else sizes_in_bytes(store, sha)[0]
    return units_of_file(uri, sha, sha.decode(), size_bytes)
