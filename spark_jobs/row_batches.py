"""Rows of Python objects as Arrow batches that stay small, however large the rows are."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

__all__ = ["batches_of"]

_BATCH_ROWS = 512
# A document may have megabytes.
_BATCH_CHARACTERS = 4 * 2**20


def batches_of(rows: Iterable[dict[str, object]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Gather rows in batches of at most 512, which end with the row that makes 4 Mi characters full.

    Args:
        rows: Values by column; what is missing is null.
        schema: Columns.

    Yields:
        Batches that have rows.
    """
    held: list[dict[str, object]] = []
    characters = 0
    for row in rows:
        held.append(row)
        characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(held) == _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield pa.RecordBatch.from_pylist(held, schema)
            held, characters = [], 0
    if held:
        yield pa.RecordBatch.from_pylist(held, schema)
