"""Put the pieces of a document's text together, never past a fixed length."""

from collections.abc import Iterable

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.contract import UnparsableError

__all__ = ["MAX_TEXT_CHARS", "expands_too_far", "join_bounded", "join_pages"]

MAX_TEXT_CHARS = 32 * 2**20
"""Longest text that one file may give: four times the largest file that is read by default."""


def expands_too_far() -> UnparsableError:
    """Make the error for a file whose text is too long."""
    detail = f"the text is longer than {MAX_TEXT_CHARS} characters; split the file"
    return UnparsableError(RejectionReason.EXPANDS_TOO_FAR, detail)


def join_bounded(parts: Iterable[str], separator: str = "\n\n") -> str:
    """Join the parts that are not blank.

    Raises:
        UnparsableError: the text would be longer than `MAX_TEXT_CHARS`; the rest of `parts` isn't looked at.
    """
    kept: list[str] = []
    n_chars = 0
    for part in parts:
        if part.strip():
            n_chars += len(part) + len(separator)
            if n_chars > MAX_TEXT_CHARS:
                raise expands_too_far()
            kept.append(part.rstrip())
    return separator.join(kept)


def join_pages(pages: Iterable[str]) -> str:
    r"""Divide pages, blank ones included, by form feeds; line ends become \n.

    Raises:
        UnparsableError: the text would be longer than `MAX_TEXT_CHARS`.
    """
    kept: list[str] = []
    n_chars = 0
    for page in pages:
        n_chars += len(page) + 1
        if n_chars > MAX_TEXT_CHARS:
            raise expands_too_far()
        kept.append(page.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").strip())
    return "\f".join(kept)
