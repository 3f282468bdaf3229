"""Objects in S3, Google Cloud Storage, Azure or another store that fsspec knows."""

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.sources.contract import Changes, ReadUnit, Record, Rejected, UnreadableError
from forebay.sources.formats import is_range, units_of_file
from forebay.sources.listing import listing_cursor
from forebay.sources.names import is_hidden, printable, refuse_credentials
from forebay.sources.records import READ_BYTES, steady_records
from forebay.sources.unit_list import UnitList

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
        units = UnitList.of(unit for path in sorted(found) for unit in _units(path, root, found[path]))
        return Changes(units, listing_cursor(units))

    def read(self, unit: ReadUnit, max_bytes: int) -> Iterator[Record | Rejected]:
        """Read an object; one that is replaced meanwhile is refused.

        Raises:
            ConfigurationError: the store's package isn't installed here.
            UnreadableError: the object is gone, was replaced, or the store doesn't give it.
        """
        files, _ = _open_store(self._name)
        path = unit.address.decode()
        before = unit.version if is_range(unit) else _current_version(files, path)

        def require_unchanged() -> None:
            if _current_version(files, path) != before:
                detail = "the object was replaced while it was read; the next run reads it again"
                raise UnreadableError(RejectionReason.CHANGED_WHILE_READ, detail)

        try:
            # Some stores notice a replaced object by themselves, and some would mix the two.
            with _opened(files, path, unit) as stream:
                yield from steady_records(unit, stream, max_bytes, require_unchanged)
        except UnreadableError:
            raise
        except Exception as exc:
            require_unchanged()
            raise UnreadableError(RejectionReason.UNREADABLE, f"it can't be read ({_brief(exc)})") from exc

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


def _opened(files: Any, path: str, unit: ReadUnit) -> io.BufferedReader:
    # The columns of a Parquet file are read by turns, each from a place of its own: what lies behind is of no use.
    cache = "none" if unit.format == "parquet" else "readahead"
    remote = files.open(path, "rb", block_size=READ_BYTES, cache_type=cache)
    # fsspec's own readline takes no limit.
    return io.BufferedReader(remote, READ_BYTES)


def _brief(exc: Exception) -> str:
    # Signed addresses carry their signature behind the question mark.
    return re.sub(r"\?\S+", "?...", f"{type(exc).__name__}: {exc}".partition("\n")[0])[:200]
