"""The rows of a run that suites look at one by one."""

from typing import TYPE_CHECKING

import pyarrow as pa

from forebay.tables import Table
from quality.validate import SAMPLE_ROWS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["sample_of_run"]

_READ_ROWS = 128
_SAMPLE_BYTES = 64 * 2**20


def sample_of_run(table: Table, run_id: str, columns: list[str] | None = None) -> "pd.DataFrame":
    """Read up to `SAMPLE_ROWS` of the rows that a run wrote, of the whole table where it wrote none; about 64 MiB."""
    dataset = table.newest()
    where = f"run_id = '{run_id}'"
    chosen = where if dataset.count_rows(where) else None
    scanner = dataset.scanner(columns=columns, filter=chosen, limit=SAMPLE_ROWS, batch_size=_READ_ROWS)
    read: list[pa.RecordBatch] = []
    n_bytes = 0
    for batch in scanner.to_batches():
        read.append(batch)
        n_bytes += batch.nbytes
        if n_bytes >= _SAMPLE_BYTES:
            break
    return pa.Table.from_batches(read, scanner.projected_schema).to_pandas()
