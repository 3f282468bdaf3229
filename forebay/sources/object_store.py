"""Objects in S3, Google Cloud Storage, Azure or another store that fsspec knows."""

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from forebay.documents import RejectionReason, content_hash
from forebay.errors import ConfigurationError
from forebay.sources.contract import Changes, ReadUnit, Record, Rejected, UnreadableError
from forebay.sources.formats import units_of_file
from forebay.sources.names import is_hidden, printable, refuse_credentials
from forebay.sources.records import records_of

__all__ = ["ObjectStoreSource"]

_PACKAGES = {
    "s3": "forebay[s3]",
    "s3a": "forebay[s3]",
    "gs": "forebay[gcs]",
    "gcs": "forebay[gcs]",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
}
_MARKS = ("generation", "ETag", "etag", "md5", "last_modified", "LastModified", "updated", "mtime", "created")
"""What stores call that which changes with an object's bytes, the surest first."""
_BLOCK_BYTES = 4 * 2**20


class ObjectStoreSource:
    """The objects below a prefix, or one object, except hidden ones.

    The store's own package finds its credentials and its endpoint: for S3 the AWS_* variables (AWS_ENDPOINT_URL for
    compatible stores) and ~/.aws, for Google its application default credentials, for Azure AZURE_STORAGE_*. Options
    that fsspec knows can be set by FSSPEC_* variables, such as FSSPEC_S3_ANON=true for public buckets.
    """

    def __init__(self, name: str) -> None:
        refuse_credentials(name)
        self._name = name.rstrip("/")

    @property
    def name(self) -> str:
        """The address, such as `s3://bucket/folder`."""
        return self._name

    def changes(self, cursor: str | None = None) -> Changes:
        """List every object with the version that the store gives it; the cursor is a hash of them.

        Raises:
            ConfigurationError: the store's package isn't installed, or there is nothing that can be listed.
        """
        files, root = _open_store(self._name)
        found = _find(files, root, self._name)
        units = [unit for path in sorted(found) for unit in _units(path, root, found[path])]
        state = dict.fromkeys((unit.uri, unit.version) for unit in units)
        return Changes(units, content_hash(*(part for entry in state for part in entry)))

    def read(self, unit: ReadUnit, max_bytes: int) -> Iterator[Record | Rejected]:
        """Read an object; one that is replaced meanwhile is refused.

        Raises:
            ConfigurationError: the store's package isn't installed here.
            UnreadableError: the object is gone, was replaced, or the store doesn't give it.
        """
        files, _ = _open_store(self._name)
        path = unit.address.decode()
        before = _current_version(files, path)
        try:
            # Some stores notice a replaced object by themselves, and some would mix the two.
            records = _read(files, path, unit, max_bytes)
        except Exception as exc:
            if _current_version(files, path) == before:
                raise UnreadableError(RejectionReason.UNREADABLE, f"it can't be read ({_brief(exc)})") from exc
            raise _replaced() from exc
        if _current_version(files, path) != before:
            raise _replaced()
        yield from records

    def acknowledge(self, changes: Changes, rejected: Sequence[Rejected]) -> None:
        """Do nothing: a store keeps no account."""


def _open_store(name: str) -> tuple[Any, str]:
    import fsspec

    scheme = name.partition("://")[0]
    try:
        files, root = fsspec.url_to_fs(name)
    except (ImportError, ValueError) as exc:
        needed = _PACKAGES.get(scheme, "the package that fsspec reads it with")
        problem = "needs a package that isn't installed" if isinstance(exc, ImportError) else f"failed ({_brief(exc)})"
        raise ConfigurationError(f"opening {scheme}:// {problem}; install {needed}, or check its settings.") from exc
    # fsspec keeps one store per process and remembers what it listed.
    files.invalidate_cache()
    return files, root


def _find(files: Any, root: str, name: str) -> dict[str, dict[str, Any]]:
    try:
        found = files.find(root, detail=True)
        is_there = bool(found) or files.exists(root)
    # Each store's package has exceptions of its own, and few derive from OSError.
    except Exception as exc:
        raise ConfigurationError(
            f"{name!r} can't be listed ({_brief(exc)}); check the address, the credentials and the network."
        ) from exc
    if not is_there:
        raise ConfigurationError(f"there is nothing at {name!r}; check the address, or put objects there first.")
    return found


def _units(path: str, root: str, info: dict[str, Any]) -> list[ReadUnit]:
    relative = path.removeprefix(root).lstrip("/") or path.rpartition("/")[2]
    if info.get("type") != "file" or path.endswith("/") or is_hidden(relative):
        return []
    version = _version(info)
    if version is None:
        raise ConfigurationError(
            f"the store tells neither an ETag nor a time of {relative!r}, so that changes can't be seen; copy the "
            "objects into a folder and give that."
        )
    return units_of_file(printable(relative.encode()), path.encode(), version, int(info.get("size") or 0))


def _version(info: dict[str, Any]) -> str | None:
    mark = next((info[name] for name in _MARKS if info.get(name)), None)
    return None if mark is None else f"{info.get('size')}-{str(mark).strip(chr(34))}"


def _current_version(files: Any, path: str) -> str | None:
    try:
        files.invalidate_cache()
        return _version(files.info(path))
    except FileNotFoundError as exc:
        raise UnreadableError(RejectionReason.UNREADABLE, "it is gone since it was listed") from exc
    except Exception as exc:
        raise UnreadableError(RejectionReason.UNREADABLE, f"it can't be looked up ({_brief(exc)})") from exc


def _read(files: Any, path: str, unit: ReadUnit, max_bytes: int) -> list[Record | Rejected]:
    with files.open(path, "rb", block_size=_BLOCK_BYTES, cache_type="readahead") as remote:
        # fsspec's own readline takes no limit.
        stream = io.BufferedReader(remote, _BLOCK_BYTES)
        return list(records_of(unit, stream, max_bytes))


def _replaced() -> UnreadableError:
    detail = "the object was replaced while it was read; the next run reads it again"
    return UnreadableError(RejectionReason.CHANGED_WHILE_READ, detail)


def _brief(exc: Exception) -> str:
    # Signed addresses carry their signature behind the question mark.
    return re.sub(r"\?\S+", "?...", f"{type(exc).__name__}: {exc}".partition("\n")[0])[:200]
