"""Tables as text: comma, semicolon, tab or bar between the values."""

import csv
import io
from collections import Counter

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.cells import named_lines
from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError
from spark_jobs.parse_documents.readers.encodings import decode
from spark_jobs.parse_documents.readers.joining import join_bounded

__all__ = ["read_csv", "read_tsv"]

_DELIMITERS = ",;\t|"
_SNIFFED_CHARS = 16 * 1024
# By default a value may have 131,072 characters, which the text of a document easily exceeds.
_MAX_VALUE_CHARS = 2**31 - 1


def read_csv(data: bytes) -> Extracted:
    """Read a table, telling its delimiter by its first rows.

    Raises:
        UnparsableError: it is not text, or no table.
    """
    text = decode(data)
    return _read(text, _delimiter(text[:_SNIFFED_CHARS]))


def read_tsv(data: bytes) -> Extracted:
    """Read a table with tabs between the values.

    Raises:
        UnparsableError: it is not text, or no table.
    """
    return _read(decode(data), "\t")


def _delimiter(sample: str) -> str:
    return max(_DELIMITERS, key=lambda delimiter: _regularity(sample, delimiter))


def _regularity(sample: str, delimiter: str) -> tuple[float, int]:
    """Give the share of rows that have the most frequent width, and that width; (0, 1) where it is one column.

    Not `csv.Sniffer`: it gives up on short tables with quoted values, and takes quadratic time over some files.
    """
    widths = [len(row) for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter) if row]
    # The sample may end within the last row.
    [(width, count)] = Counter(widths[:-1] or widths).most_common(1) or [(1, 0)]
    return (0, 1) if width == 1 else (count / max(len(widths) - 1, 1), width)


def _read(text: str, delimiter: str) -> Extracted:
    csv.field_size_limit(_MAX_VALUE_CHARS)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return Extracted(join_bounded(named_lines(rows), "\n"), "text")
    except csv.Error as exc:
        detail = f"line {rows.line_num} is no row of a table: {exc}"
        raise UnparsableError(RejectionReason.PARSER_ERROR, detail) from exc
