"""From the bytes of one unit to the records that should become documents."""

import json
from collections.abc import Iterator
from typing import BinaryIO

from forebay.documents import RejectionReason
from forebay.sources.contract import ReadUnit, Record, Rejected
from forebay.sources.lines import read_lines

__all__ = ["records_of"]

_PARQUET_ROWS = 256


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

    number = 0
    try:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=_PARQUET_ROWS):
            for row in batch.to_pylist():
                number += 1
                place = f"{unit.uri}#row={number}"
                data = json.dumps(row, default=str).encode()
                if len(data) > max_bytes:
                    yield Rejected(place, number, RejectionReason.TOO_LARGE, f"a row larger than {max_bytes} bytes")
                else:
                    yield Record(place, number, data, "row")
    except (pa.ArrowException, ValueError, OSError) as exc:
        if isinstance(exc, OSError) and exc.errno:
            # The file can't be read; Arrow's own complaints have no number.
            raise
        detail = f"the Parquet file can't be read after row {number}: {exc}"[:300]
        yield Rejected(unit.uri, number + 1, RejectionReason.PARSER_ERROR, detail)
