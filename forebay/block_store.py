"""Blocks named by their checksum, and small named documents, in any store that fsspec knows."""

import errno
import hashlib
import os
import re
import struct
import uuid
from typing import Any

import pyarrow as pa

from forebay.errors import ConfigurationError, TransferError

__all__ = ["BlockStore", "block_name"]

_HEAD = struct.Struct(">Q")
_MAX_BLOCK_BYTES = 1 << 30


def block_name(data: bytes) -> str:
    """Give the name of a block: the SHA-256 of its bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class BlockStore:
    """One folder of an object store; safe for several threads, and for several writers of the same blocks."""

    def __init__(self, address: str) -> None:
        """Open a store.

        Raises:
            ConfigurationError: fsspec or the store's package can't open the address.
        """
        import fsspec

        self.address = address.rstrip("/")
        try:
            self._files: Any
            self._files, root = fsspec.url_to_fs(self.address)
        except (ImportError, ValueError) as exc:
            raise ConfigurationError(
                f"{address!r} can't be opened ({_brief(exc)}); check the address, and install forebay[s3] or "
                "forebay[gcs] for those stores."
            ) from exc
        self._root = str(root).rstrip("/")
        self._codec = pa.Codec("zstd", compression_level=3)

    def names(self) -> set[str]:
        """List the blocks that are there."""
        folder = f"{self._root}/blocks"
        try:
            self._files.invalidate_cache()
            return {path.rpartition("/")[2] for path in self._files.find(folder)}
        except FileNotFoundError:
            return set()
        except Exception as exc:
            raise self._failed("listed", "blocks", exc) from exc

    def put(self, data: bytes) -> int:
        """Store a block.

        Returns:
            The bytes that were sent.
        """
        packed = _HEAD.pack(len(data)) + self._codec.compress(data, asbytes=True)
        self.write(_path(block_name(data)), packed)
        return len(packed)

    def get(self, name: str) -> bytes:
        """Fetch a block and compare it with its name.

        Raises:
            TransferError: it is missing, cut, changed, or can't be read.
        """
        packed = self.read(_path(name))
        try:
            (size,) = _HEAD.unpack_from(packed)
            if size > _MAX_BLOCK_BYTES:
                raise ValueError(size)
            data: bytes = self._codec.decompress(packed[_HEAD.size :], decompressed_size=size, asbytes=True)
        except (struct.error, ValueError, OSError) as exc:
            raise self._damaged(name) from exc
        if block_name(data) != name:
            raise self._damaged(name)
        return data

    def write(self, path: str, data: bytes) -> None:
        """Replace an object, visible only when it is whole.

        Raises:
            TransferError: the store doesn't take it.
        """
        target = f"{self._root}/{path}"
        try:
            if not self._is_folder():
                self._files.pipe_file(target, data)
                return
            # A killed write to a folder would leave a cut file under its final name.
            staging = f"{self._root}/staging/{uuid.uuid4().hex}"
            for name in (staging, target):
                os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(staging, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(staging, target)
        except Exception as exc:
            raise self._failed("written", path, exc) from exc

    def read(self, path: str) -> bytes:
        """Read an object.

        Raises:
            TransferError: it is missing or can't be read.
        """
        try:
            return self._files.cat_file(f"{self._root}/{path}")
        except FileNotFoundError as exc:
            raise TransferError(
                f"{path!r} is missing in {self.address}; push the release again from where it was built."
            ) from exc
        except Exception as exc:
            raise self._failed("read", path, exc) from exc

    def _is_folder(self) -> bool:
        protocol = self._files.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def _damaged(self, name: str) -> TransferError:
        return TransferError(
            f"the block {_path(name)!r} in {self.address} doesn't match its checksum; remove that object and push "
            "the release again from where it was built."
        )

    def _failed(self, verb: str, path: str, exc: Exception) -> TransferError:
        if isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "the store is full; free some space and run the same command again, it goes on where it stopped"
        else:
            advice = "check the address, the credentials and the network, then run the same command again"
        return TransferError(f"{path!r} in {self.address} can't be {verb} ({_brief(exc)}): {advice}.")


def _path(name: str) -> str:
    return f"blocks/{name[:2]}/{name}"


def _brief(exc: Exception) -> str:
    # Signed addresses carry their signature behind the question mark.
    return re.sub(r"\?\S+", "?...", f"{type(exc).__name__}: {exc}".partition("\n")[0])[:200]
