"""The cursor of a source whose listing is all that it holds."""

from collections.abc import Iterator
from itertools import groupby

from forebay.documents import hash_of_parts
from forebay.sources.unit_list import UnitList

__all__ = ["listing_cursor"]


def listing_cursor(units: UnitList) -> str:
    """Hash the names and versions of what was listed; the ranges of one file, which follow each other, count once."""
    return hash_of_parts(part for file, _ in groupby(_files(units)) for part in file)


def _files(units: UnitList) -> Iterator[tuple[str, str]]:
    for batch in units.table.select(["uri", "version"]).to_batches():
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
