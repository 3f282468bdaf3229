"""Excel workbooks (Office Open XML)."""

from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.cells import named_lines
from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError
from spark_jobs.parse_documents.readers.joining import join_bounded
from spark_jobs.parse_documents.readers.package import open_package

__all__ = ["MAX_CELLS", "read_xlsx"]

MAX_CELLS = 2_000_000
"""Most cells of one workbook, empty rows counted as one each."""


def read_xlsx(data: bytes) -> Extracted:
    """Read every sheet under a heading with its name; formulas as the values that were last computed.

    Raises:
        UnparsableError: it is no XLSX workbook, encrypted, damaged, has too many cells, or unpacks too far.
    """
    import openpyxl

    workbook = openpyxl.load_workbook(open_package(data, "an XLSX workbook"), read_only=True, data_only=True)
    counter = _Counter()
    blocks: list[str] = []
    for sheet in workbook.worksheets:
        # The size that a sheet claims may be wrong, or hostile.
        sheet.reset_dimensions()
        lines = join_bounded(named_lines(counter.counted(sheet.iter_rows(values_only=True))), "\n")
        blocks += [f"## {sheet.title}", lines] if lines else []
    properties = workbook.properties
    author = (properties.creator or "").strip()
    metadata = {"author": author} if author else {}
    return Extracted(join_bounded(blocks), "markdown", (properties.title or "").strip(), metadata)


class _Counter:
    """Counts the cells of all sheets while they are read."""

    def __init__(self) -> None:
        self._n_cells = 0

    def counted(self, rows: Any) -> Iterator[list[str]]:
        for row in rows:
            self._n_cells += max(len(row), 1)
            if self._n_cells > MAX_CELLS:
                detail = f"the workbook has more than {MAX_CELLS} cells; split it, or export it as CSV"
                raise UnparsableError(RejectionReason.EXPANDS_TOO_FAR, detail)
            yield [_written(value) for value in row]


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)
