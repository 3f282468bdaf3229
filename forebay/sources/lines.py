"""Read the lines of a byte range without ever holding more than one bounded line."""

from collections.abc import Iterator
from typing import BinaryIO

__all__ = ["read_lines"]

_SKIP_BYTES = 2**20


def read_lines(stream: BinaryIO, start: int, end: int, max_bytes: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Read the lines that start within a range of a file's bytes.

    Args:
        stream: The file, seekable.
        start: First byte of the range; a line that began before it belongs to the range before.
        end: Byte after the range.
        max_bytes: Longest line that is kept, its line break left out.

    Yields:
        (number within the range from 1, offset of its first byte, bytes without the line break). The bytes are
        None for a longer line, which is skipped in bounded pieces.
    """
    if start > 0:
        stream.seek(start - 1)
        _skip_line(stream, end)
    number = 0
    while (offset := stream.tell()) < end:
        # Two bytes more than the limit: room for \r\n.
        line = stream.readline(max_bytes + 2)
        if not line:
            return
        number += 1
        kept = line.rstrip(b"\r\n")
        if len(kept) > max_bytes:
            if not line.endswith(b"\n"):
                _skip_line(stream, end)
            yield number, offset, None
        else:
            yield number, offset, kept


def _skip_line(stream: BinaryIO, end: int) -> None:
    """Go to the next line, or past the range: a line of very many ranges is read once, not by each of them."""
    while stream.tell() < end:
        piece = stream.readline(_SKIP_BYTES)
        if not piece or piece.endswith(b"\n"):
            return
