"""Web pages, without navigation and other boilerplate."""

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError
from spark_jobs.parse_documents.readers.encodings import decode

__all__ = ["read_html"]


def read_html(data: bytes) -> Extracted:
    """Extract the main text as Markdown.

    Raises:
        UnparsableError: there is none.
    """
    import trafilatura

    text = decode(data)
    if not text.strip():
        return Extracted("", "markdown")
    body = trafilatura.extract(text, output_format="markdown", include_tables=True, favor_recall=True)
    if body is None:
        raise UnparsableError(RejectionReason.PARSER_ERROR, "no text could be extracted")
    return Extracted(body, "markdown", trafilatura.extract_metadata(text).title or "")
