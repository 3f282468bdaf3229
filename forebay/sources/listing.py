"""The cursor of a source whose listing is all that it holds."""

from collections.abc import Sequence
from itertools import groupby

from forebay.documents import content_hash
from forebay.sources.contract import ReadUnit

__all__ = ["listing_cursor"]


def listing_cursor(units: Sequence[ReadUnit]) -> str:
    """Hash the names and versions of what was listed; the ranges of one file, which follow each other, count once."""
    files = (file for file, _ in groupby((unit.uri, unit.version) for unit in units))
    return content_hash(*(part for file in files for part in file))
