"""The folder of one immutable shard: built aside, sealed with checksums, made visible by one rename."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from forebay.documents import content_hash
from forebay.errors import IndexBuildError, ReleaseError
from forebay.store.contract import ShardRef

__all__ = [
    "BLOCK_BYTES",
    "SEAL",
    "copy_sealed_files",
    "data_blocks",
    "find_intact",
    "is_abandoned_staging",
    "require_space",
    "seal",
    "sealed_files",
    "size_on_disk",
    "staging_folder",
    "verify",
]

SEAL = "shard.json"
"""File of a finished shard that names its other files, their sizes and checksum."""
_STAGING_PREFIX = ".building-"
BLOCK_BYTES = 1 << 16
"""Size of the blocks that files are compared and transferred by."""
_ZEROS = bytes(BLOCK_BYTES)
_STAT_BLOCK_BYTES = 512  # stat(2)


@contextmanager
def staging_folder(target: Path) -> Generator[Path]:
    """Give an empty folder beside `target` to build in; it is gone afterwards unless it was sealed.

    Folders that a killed build of the same shard left behind are removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for orphan in target.parent.glob(f"{_STAGING_PREFIX}{target.name}-*"):
        if not _is_alive(orphan):
            shutil.rmtree(orphan, ignore_errors=True)
    prefix = f"{_STAGING_PREFIX}{target.name}-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_space(folder: Path, size_bytes: int) -> None:
    """See to it that a disk has room for what is about to be written.

    Raises:
        IndexBuildError: it hasn't.
    """
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        raise IndexBuildError(
            f"the disk of {str(folder.parent)!r} is nearly full: a shard needs {size_bytes / 2**20:,.0f} MiB more, and "
            f"{free / 2**20:,.0f} MiB are free. Make room there, or move the data folder (FOREBAY_DATA); the current "
            "release stays as it was."
        )


def size_on_disk(folder: Path) -> int:
    """Sum the bytes that the files of a folder take; holes take none."""
    return sum(path.stat().st_blocks for path in folder.rglob("*") if path.is_file()) * _STAT_BLOCK_BYTES


def is_abandoned_staging(folder: Path) -> bool:
    """Say whether a folder was left behind by a build that is no longer there."""
    return folder.name.startswith(_STAGING_PREFIX) and not _is_alive(folder)


def _is_alive(staging: Path) -> bool:
    pid = staging.name.split("-")[-2]
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


def seal(
    staging: Path,
    target: Path,
    *,
    root: Path,
    number: int,
    content: str,
    chunks: int,
    ann_recall10: float | None = None,
) -> ShardRef:
    """Write the checksums of a finished shard into it and move it to its final place.

    Where another process sealed the same shard first, that one is kept.
    """
    files = _files(staging)
    ref = ShardRef(
        number=number,
        content=content,
        path=target.relative_to(root).as_posix(),
        chunks=chunks,
        bytes=sum(path.stat().st_blocks for path in files.values()) * _STAT_BLOCK_BYTES,
        checksum=_checksum(files),
        ann_recall10=ann_recall10,
    )
    sizes = {name: path.stat().st_size for name, path in files.items()}
    document = {"ref": ref.model_dump(), "sizes": sizes}
    with (staging / SEAL).open("w", encoding="utf-8") as stream:
        json.dump(document, stream)
        stream.flush()
        os.fsync(stream.fileno())
    if target.exists():
        kept = find_intact(target)
        if kept is not None:
            return kept
        os.rename(target, staging.with_name(f"{staging.name}-damaged"))
    try:
        os.rename(staging, target)
    except OSError as exc:
        kept = find_intact(target)
        if kept is None:
            raise IndexBuildError(f"the shard folder {target} is in the way and not a finished shard.") from exc
        return kept
    return ref


def sealed_files(folder: Path) -> dict[str, Path]:
    """Give the files of a finished shard by their names, without its seal.

    Whoever opens a shard writes other files beside them for a moment.

    Raises:
        ReleaseError: it is missing.
    """
    return {name: folder / name for name in _sealed_sizes(folder)}


def _sealed_sizes(folder: Path) -> dict[str, int]:
    try:
        return json.loads((folder / SEAL).read_bytes())["sizes"]
    except (FileNotFoundError, ValueError, KeyError) as exc:
        raise ReleaseError(
            f"the index shard {folder} is missing. Run the pipeline again to rebuild it.",
            public=f"the index shard {folder.name} is missing",
        ) from exc


def copy_sealed_files(source: Path, target: Path) -> None:
    """Copy a finished shard without its seal, holes as holes: Qdrant reserves 100 MB for a shard that fills one.

    Args:
        source: Folder of the shard.
        target: Where to, a folder.

    Raises:
        ReleaseError: the shard is missing.
    """
    for name, path in sealed_files(source).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        _copy_sparse(path, target / name)


def _copy_sparse(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("wb") as writing:
        writing.truncate(os.fstat(reading.fileno()).st_size)
        for start, end in _extents(reading):
            reading.seek(start)
            writing.seek(start)
            writing.write(reading.read(end - start))


def _extents(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Give the parts of a file that are no holes, as (first byte, byte after the last)."""
    size, end = os.fstat(stream.fileno()).st_size, 0
    while end < size:
        try:
            start = os.lseek(stream.fileno(), end, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
            # Only a hole is left.
            return
        end = os.lseek(stream.fileno(), start, os.SEEK_HOLE)
        yield start, end


def find_intact(target: Path) -> ShardRef | None:
    """Read the seal of a finished shard; None where there is none, or files of it are cut or missing."""
    ref = _read_seal(target)
    if ref is None:
        return None
    try:
        verify(target, ref, contents=False)
    except ReleaseError:
        return None
    return ref


def _read_seal(target: Path) -> ShardRef | None:
    try:
        return ShardRef.model_validate(json.loads((target / SEAL).read_bytes())["ref"])
    except (FileNotFoundError, ValidationError, ValueError, KeyError):
        return None


def verify(folder: Path, ref: ShardRef, *, contents: bool) -> None:
    """Compare a shard's files with its seal and the manifest.

    Args:
        folder: Folder of the shard.
        ref: What the manifest says of it.
        contents: Compare the checksum of every file; otherwise their names and sizes only.

    Raises:
        ReleaseError: the shard is missing, or a file was cut, changed or removed.
    """
    if _read_seal(folder) != ref:
        raise ReleaseError(
            f"the index shard {folder} is missing or is not the one that the release names. "
            "Run the pipeline again to rebuild it.",
            public=f"the index shard {folder.name} is missing or is not the one that the release names",
        )
    files = sealed_files(folder)
    for name, size in _sealed_sizes(folder).items():
        if not files[name].is_file() or files[name].stat().st_size != size:
            raise ReleaseError(
                f"the file {name!r} of the index shard {folder} was cut, changed or removed.",
                public=f"the file {name!r} of the index shard {folder.name} was cut, changed or removed",
            )
    if contents and _checksum(files) != ref.checksum:
        raise ReleaseError(
            f"the index shard {folder} doesn't match its checksum; remove that folder and run the pipeline again.",
            public=f"the index shard {folder.name} doesn't match its checksum",
        )


def _files(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    return {path.relative_to(folder).as_posix(): path for path in paths}


def _checksum(files: dict[str, Path]) -> str:
    return content_hash(*(part for name, path in files.items() for part in (name, _file_checksum(path))))


def _file_checksum(path: Path) -> str:
    """Hash a file's size, and its blocks that are not all zeros, so that zeros may or may not be holes."""
    digest = hashlib.sha256(str(path.stat().st_size).encode())
    for position, block in data_blocks(path):
        digest.update(position.to_bytes(8, "big"))
        digest.update(block)
    return digest.hexdigest()


def data_blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Give a file's aligned blocks of 64 KiB that are not all zeros, with their positions; holes are not read."""
    position = 0
    with path.open("rb") as stream:
        for start, end in _extents(stream):
            position = max(position, start - start % BLOCK_BYTES)
            while position < end:
                stream.seek(position)
                block = stream.read(BLOCK_BYTES)
                if block != _ZEROS[: len(block)]:
                    yield position, block
                position += BLOCK_BYTES
