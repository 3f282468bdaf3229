"""Units in columns: a listing of millions would be too many Python objects."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, overload

import pyarrow as pa

from forebay.sources.contract import ReadUnit

__all__ = ["UnitList"]

_BATCH_UNITS = 10_000


@dataclass(frozen=True)
class UnitList(Sequence[ReadUnit]):
    """A sequence of units, held as an Arrow table."""

    table: pa.Table
    """In `SCHEMA`."""

    SCHEMA: ClassVar = pa.schema(
        [
            ("uri", pa.large_string()),
            ("format", pa.string()),
            ("version", pa.large_string()),
            ("address", pa.large_binary()),
            ("start", pa.int64()),
            ("end", pa.int64()),
        ]
    )
    """The fields of `ReadUnit`; those that may have more than 2 GiB in all are large."""

    @classmethod
    def of(cls, units: Iterable[ReadUnit]) -> "UnitList":
        """Collect units; at no time more than a few thousand of them are objects."""
        if isinstance(units, UnitList):
            return units
        return cls(pa.Table.from_batches(_batches(iter(units)), cls.SCHEMA))

    def __len__(self) -> int:
        """Count the units."""
        return self.table.num_rows

    def __iter__(self) -> Iterator[ReadUnit]:
        """Make the units, in their order."""
        for batch in self.table.to_batches(max_chunksize=_BATCH_UNITS):
            for row in batch.to_pylist():
                yield ReadUnit(**row)

    @overload
    def __getitem__(self, index: int) -> ReadUnit: ...

    @overload
    def __getitem__(self, index: slice) -> "UnitList": ...

    def __getitem__(self, index: int | slice) -> "ReadUnit | UnitList":
        """Make one unit, or give some of them."""
        if isinstance(index, slice):
            return UnitList(self.table.take(list(range(*index.indices(len(self))))))
        (row,) = self.table.slice(range(len(self))[index], 1).to_pylist()
        return ReadUnit(**row)


def _batches(units: Iterator[ReadUnit]) -> Iterator[pa.RecordBatch]:
    # Column by column: rows of dictionaries would be held besides.
    while some := list(islice(units, _BATCH_UNITS)):
        columns = [pa.array([getattr(unit, field.name) for unit in some], field.type) for field in UnitList.SCHEMA]
        yield pa.RecordBatch.from_arrays(columns, schema=UnitList.SCHEMA)
