"""The rows of a run that suites look at one by one."""

from typing import TYPE_CHECKING

from forebay.tables import Table
from quality.validate import SAMPLE_ROWS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["sample_of_run"]


def sample_of_run(table: Table, run_id: str, columns: list[str] | None = None) -> "pd.DataFrame":
    """Read up to `SAMPLE_ROWS` of the rows that a run wrote; of the whole table where it wrote none."""
    dataset = table.newest()
    where = f"run_id = '{run_id}'"
    chosen = where if dataset.count_rows(where) else None
    return dataset.scanner(columns=columns, filter=chosen, limit=SAMPLE_ROWS).to_table().to_pandas()
