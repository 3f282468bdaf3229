"""From the bytes of one unit to the records that should become documents."""

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from forebay.documents import RejectionReason
from forebay.sources.contract import ReadUnit, Record, Rejected
from forebay.sources.lines import read_lines

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["READ_BYTES", "records_of", "steady_records"]

READ_BYTES = 4 * 2**20
"""How much of a large file is asked for at once."""
_BATCH_ROWS = 256
_BATCH_BYTES = 16 * 2**20
# A column that repeats one long text is a few hundred bytes, however many rows it has.
_MAX_GROWTH = 1000
_GROWTH_FROM_BYTES = 2**30


def steady_records(
    unit: ReadUnit, stream: BinaryIO, max_bytes: int, require_unchanged: Callable[[], None]
) -> Iterator[Record | Rejected]:
    """Split what a file holds, as `records_of` does, where somebody may write to the file meanwhile.

    Args:
        unit: What is read.
        stream: Its file from the first byte, seekable.
        max_bytes: Largest document.
        require_unchanged: Raises `UnreadableError` where the file is not what it was when it was opened.
    """
    records = records_of(unit, stream, max_bytes)
    # Held back until it is known that nobody wrote meanwhile. A range of lines is small; a Parquet file may be of any
    # size, but half written it can't be read at all.
    if unit.format == "parquet":
        yield from records
    else:
        records = iter(list(records))
    require_unchanged()
    yield from records


def records_of(unit: ReadUnit, stream: BinaryIO, max_bytes: int) -> Iterator[Record | Rejected]:
    """Split what a unit holds; a JSONL or Parquet file holds one document per row, other files are one.

    Args:
        unit: What is read.
        stream: Its file from the first byte, seekable.
        max_bytes: Largest document.
    """
    if unit.format == "jsonl":
        yield from _lines(unit, stream, max_bytes)
    elif unit.format == "parquet":
        yield from _parquet_rows(unit, stream, max_bytes)
    elif unit.format == "unsupported":
        ending = "." + unit.uri.rpartition(".")[2] if "." in unit.uri.rpartition("/")[2] else "no ending"
        yield Rejected(unit.uri, 0, RejectionReason.UNSUPPORTED_FORMAT, f"files with {ending} are not read")
    else:
        data = stream.read(max_bytes + 1)
        if len(data) > max_bytes:
            yield Rejected(unit.uri, 0, RejectionReason.TOO_LARGE, f"larger than {max_bytes} bytes")
        else:
            yield Record(unit.uri, 0, data, unit.format)


def _lines(unit: ReadUnit, stream: BinaryIO, max_bytes: int) -> Iterator[Record | Rejected]:
    for number, offset, data in read_lines(stream, unit.start, unit.end, max_bytes):
        # A line's number is known only when the file was read from its first byte; its offset always is.
        place = f"{unit.uri}#L{number}" if unit.start == 0 else f"{unit.uri}#byte={offset}"
        if data is None:
            yield Rejected(place, offset, RejectionReason.TOO_LARGE, f"a line longer than {max_bytes} bytes")
        elif data.strip():
            yield Record(place, offset, data, "row")


def _parquet_rows(unit: ReadUnit, stream: BinaryIO, max_bytes: int) -> Iterator[Record | Rejected]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, left = 0, max(_GROWTH_FROM_BYTES, _MAX_GROWTH * (unit.end - unit.start))
    try:
        for row in _rows(pq.ParquetFile(stream, buffer_size=READ_BYTES, pre_buffer=False)):
            number += 1
            place = f"{unit.uri}#row={number}"
            data = json.dumps(row, default=str).encode()
            left -= len(data)
            if left < 0:
                detail = f"from here on its rows are more than {_MAX_GROWTH} times what the file is; split the file"
                yield Rejected(place, number, RejectionReason.EXPANDS_TOO_FAR, detail)
                return
            if len(data) > max_bytes:
                yield Rejected(place, number, RejectionReason.TOO_LARGE, f"a row larger than {max_bytes} bytes")
            else:
                yield Record(place, number, data, "row")
    except (pa.ArrowException, ValueError, OSError) as exc:
        if isinstance(exc, OSError) and (exc.errno or type(exc) is not OSError):
            # The file can't be read; Arrow's own complaints are plain ones without a number.
            raise
        detail = f"the Parquet file can't be read after row {number}: {exc}"[:300]
        yield Rejected(unit.uri, number + 1, RejectionReason.PARSER_ERROR, detail)


def _rows(file: "pq.ParquetFile") -> Iterator[dict[str, Any]]:
    """Read rows in batches that are small where rows are large."""
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        row_bytes = group.total_byte_size // max(group.num_rows, 1)
        n_rows = min(max(_BATCH_BYTES // max(row_bytes, 1), 1), _BATCH_ROWS)
        for batch in file.iter_batches(batch_size=n_rows, row_groups=[number], use_threads=False):
            yield from batch.to_pylist()
