"""How large a Git object is, told by the head of its entry in a pack (https://git-scm.com/docs/gitformat-pack)."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dulwich.object_store import PackBasedObjectStore
from dulwich.objects import ObjectID, RawObjectID
from dulwich.pack import OFS_DELTA, REF_DELTA, Pack

__all__ = ["sizes_in_bytes"]

_MAX_NUMBER_BYTES = 10
"""Enough for 64 bits."""
_HEAD_BYTES = 4096
"""Holds the tables of the compression, and the first bytes that they give."""


def sizes_in_bytes(store: PackBasedObjectStore, sha: ObjectID) -> list[int]:
    """Give the size of an object, and of those that it is a difference to, one behind the other; inflates none.

    Args:
        store: The objects of a mirror, which are all in packs.
        sha: Id of the object, as hexadecimal digits.

    Raises:
        KeyError: the object isn't there.
        ValueError: the pack is damaged; what dulwich raises then, and zlib.error, is in `git_mirror.BROKEN`, too.
    """
    for pack in store.packs:
        if sha in pack:
            with Path(pack.data.path).open("rb") as stream:
                return list(_chain(pack, stream, pack.index.object_offset(sha)))
    raise KeyError(sha)


def _chain(pack: Pack, stream: BinaryIO, offset: int) -> Iterator[int]:
    while True:
        stream.seek(offset)
        first = _numbers(stream)
        size = first[0] & 0x0F
        for place, number in enumerate(first[1:]):
            size |= (number & 0x7F) << (4 + 7 * place)
        kind = first[0] >> 4 & 7
        if kind == OFS_DELTA:
            back, *rest = (number & 0x7F for number in _numbers(stream))
            for number in rest:
                back = (back + 1 << 7) | number
            base = offset - back
        elif kind == REF_DELTA:
            base = pack.index.object_offset(RawObjectID(stream.read(pack.object_format.oid_length)))
        else:
            yield size
            return
        yield _result_bytes(stream.read(_HEAD_BYTES))
        if not 0 < base != offset:
            raise ValueError("the pack is damaged: an object is a difference to itself")
        offset = base


def _numbers(stream: BinaryIO) -> bytes:
    """Read bytes up to the first whose highest bit isn't set."""
    found = b""
    while not found or found[-1] & 0x80:
        byte = stream.read(1)
        if not byte or len(found) == _MAX_NUMBER_BYTES:
            raise ValueError("the pack is damaged: an object has no size")
        found += byte
    return found


def _result_bytes(data: bytes) -> int:
    """Read the second of the two numbers that a difference begins with, the size of what it makes."""
    delta = zlib.decompressobj().decompress(data, 20)
    second = next((place for place, byte in enumerate(delta) if not byte & 0x80), len(delta)) + 1
    size = 0
    for place, byte in enumerate(delta[second:]):
        size |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            return size
    raise ValueError("the pack is damaged: a difference has no size")
