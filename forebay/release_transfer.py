"""Releases in an object store: pushed and pulled block by block, only what the other side lacks."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from forebay.block_store import BlockStore, block_name
from forebay.errors import ReleaseError, TransferError
from forebay.releases import ReleaseManifest, ReleaseRegistry
from forebay.store.contract import ShardRef
from forebay.store.shard_files import BLOCK_BYTES, SEAL, data_blocks, find_intact, sealed_files, staging_folder, verify

__all__ = ["Transferred", "pull", "push"]

_THREADS = 16
# Blocks in memory at once: 8 MiB.
_BATCH = 128

T = TypeVar("T")
Report = Callable[[str], None]


class Transferred(BaseModel):
    """What a push or a pull moved."""

    model_config = ConfigDict(frozen=True)

    release_id: str
    """The release."""
    blocks: int
    """Blocks of its shards that hold something, wherever they came from."""
    moved_blocks: int
    """Blocks that went over the wire."""
    moved_bytes: int
    """Bytes of those: compressed when pushed, as they lie on disk when pulled."""


class _File(BaseModel):
    size: int
    blocks: list[tuple[int, str]]


class _ShardList(BaseModel):
    files: dict[str, _File]


class _Pushed(BaseModel):
    manifest: ReleaseManifest
    lists: dict[str, str]


def push(
    registry: ReleaseRegistry,
    shards: Path,
    release_id: str,
    store: BlockStore,
    *,
    is_current: bool = False,
    report: Report = lambda _: None,
) -> Transferred:
    """Send a release's blocks that a store lacks, then its manifest; what was sent before a kill is not sent again.

    Args:
        registry: The manifests of this data folder.
        shards: Folder of all its shards.
        release_id: The release.
        store: Where to.
        is_current: Make it what `pull` fetches where no release is named.
        report: Is told a line per shard.

    Raises:
        ReleaseError: there is no such release, it has no files, or a shard of it is damaged here; nothing names it in
            the store.
        TransferError: the store doesn't take it.
    """
    manifest = registry.load(release_id)
    _require_files(manifest)
    known, lists = store.names(), dict[str, str]()
    blocks = moved = sent = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for ref in manifest.shards:
            folder = shards / ref.path
            verify(folder, ref, contents=True)
            files: dict[str, _File] = {}
            for file_name, path in {SEAL: folder / SEAL, **sealed_files(folder)}.items():
                file = files[file_name] = _File(size=path.stat().st_size, blocks=[])
                for batch in _batches(data_blocks(path)):
                    new: dict[str, bytes] = {}
                    for position, block in batch:
                        name = block_name(block)
                        file.blocks.append((position, name))
                        if name not in known:
                            new[name] = block
                    sent += sum(pool.map(store.put, new.values()))
                    known |= new.keys()
                    blocks, moved = blocks + len(batch), moved + len(new)
            document = _ShardList(files=files).model_dump_json().encode()
            lists[ref.path] = block_name(document)
            if lists[ref.path] not in known:
                sent += store.put(document)
            report(f"shard {ref.number}: {moved:,} of {blocks:,} blocks sent, {sent / 2**20:.1f} MiB")
    store.write(f"releases/{release_id}.json", _Pushed(manifest=manifest, lists=lists).model_dump_json().encode())
    if is_current:
        store.write("current", release_id.encode())
    return Transferred(release_id=release_id, blocks=blocks, moved_blocks=moved, moved_bytes=sent)


def pull(
    registry: ReleaseRegistry,
    shards: Path,
    release_id: str | None,
    store: BlockStore,
    *,
    report: Report = lambda _: None,
) -> Transferred:
    """Fetch a release's blocks that no shard here has, check them, then write its manifest; nothing is promoted.

    Shards that were finished before a kill are not fetched again.

    Args:
        registry: The manifests of this data folder.
        shards: Folder of all its shards.
        release_id: The release; the store's current one if None.
        store: Where from.
        report: Is told a line per shard.

    Raises:
        ReleaseError: it has no files.
        TransferError: the store has no such release, a block is missing or damaged, or the disk is full.
    """
    pushed = _pushed(store, release_id)
    _require_files(pushed.manifest)
    manifest, blocks, moved, received = pushed.manifest, 0, 0, 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for ref in manifest.shards:
            target = _inside(shards, ref.path)
            if find_intact(target) == ref:
                report(f"shard {ref.number}: already here")
                continue
            try:
                shard_list = _ShardList.model_validate_json(store.get(pushed.lists[ref.path]))
                counts = _pull_shard(target, ref, shard_list, store, pool)
            except (KeyError, ValidationError) as exc:
                raise TransferError(
                    f"the release {manifest.release_id} in {store.address} is damaged; push it again."
                ) from exc
            except OSError as exc:
                raise _disk_failed(target, exc) from exc
            blocks, moved, received = blocks + counts[0], moved + counts[1], received + counts[2]
            report(f"shard {ref.number}: {moved:,} of {blocks:,} blocks fetched, {received / 2**20:.1f} MiB")
    registry.save(manifest)
    return Transferred(release_id=manifest.release_id, blocks=blocks, moved_blocks=moved, moved_bytes=received)


def _require_files(manifest: ReleaseManifest) -> None:
    if manifest.index.store != "embedded":
        raise ReleaseError(
            f"the release {manifest.release_id} lies in Weaviate and has no files to move; back its collection up with "
            "the Dagster job `weaviate_backup_job` (docs/weaviate.md)."
        )


def _pushed(store: BlockStore, release_id: str | None) -> _Pushed:
    if release_id is None:
        try:
            release_id = store.read("current").decode()
        except TransferError as exc:
            raise TransferError(
                f"{store.address} names no current release ({exc}) Name one, or push one with --promote."
            ) from exc
    try:
        pushed = _Pushed.model_validate_json(store.read(f"releases/{release_id}.json"))
    except ValidationError as exc:
        raise TransferError(f"the manifest of {release_id!r} in {store.address} is damaged; push it again.") from exc
    if pushed.manifest.release_id != release_id:
        raise TransferError(
            f"the manifest of {release_id!r} in {store.address} describes another release; push it again."
        )
    return pushed


def _pull_shard(
    target: Path, ref: ShardRef, shard_list: _ShardList, store: BlockStore, pool: ThreadPoolExecutor
) -> tuple[int, int, int]:
    blocks = moved = received = 0
    here = _blocks_here(target.parent)
    with staging_folder(target) as staging:
        for name, file in shard_list.files.items():
            path = _inside(staging, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                stream.truncate(file.size)
                for batch in _batches(file.blocks):
                    data = {block: _read_here(here, block) for _, block in batch}
                    missing = [block for block, found in data.items() if found is None]
                    fetched = dict(zip(missing, pool.map(store.get, missing), strict=True))
                    for position, block in batch:
                        stream.seek(position)
                        stream.write(data[block] or fetched[block])
                    blocks, moved = blocks + len(batch), moved + len(missing)
                    received += sum(map(len, fetched.values()))
                stream.flush()
                os.fsync(stream.fileno())
        try:
            verify(staging, ref, contents=True)
        except ReleaseError as exc:
            raise TransferError(
                f"shard {ref.number} from {store.address} is not what the release names; push it again. {exc}"
            ) from exc
        if target.exists():
            os.rename(target, staging.with_name(f"{staging.name}-damaged"))
        os.rename(staging, target)
    return blocks, moved, received


def _blocks_here(folder: Path) -> dict[str, tuple[Path, int]]:
    """Find the blocks of other versions of the same shard."""
    paths = [path for seal in folder.glob(f"*/{SEAL}") for path in sealed_files(seal.parent).values()]
    return {block_name(block): (path, position) for path in paths for position, block in data_blocks(path)}


def _read_here(here: dict[str, tuple[Path, int]], block: str) -> bytes | None:
    if block not in here:
        return None
    path, position = here[block]
    try:
        with path.open("rb") as stream:
            stream.seek(position)
            data = stream.read(BLOCK_BYTES)
    except FileNotFoundError:
        return None
    return data if block_name(data) == block else None


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not name or not path.resolve().is_relative_to(folder.resolve()) or path.resolve() == folder.resolve():
        raise TransferError(
            f"the pushed release names a file outside of its folder ({name!r}); don't trust that store."
        )
    return path


def _disk_failed(target: Path, exc: OSError) -> TransferError:
    is_full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "the disk is full; free some space" if is_full else "check the folder and who may write there"
    return TransferError(f"{target} can't be written ({exc.strerror}): {advice}, then run the same command again.")


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch
