"""PDF documents that have a text layer."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError
from spark_jobs.parse_documents.readers.joining import join_pages
from spark_jobs.parse_documents.readers.magic import wrong_format

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

__all__ = ["MAX_PAGES", "read_pdf"]

MAX_PAGES = 2000
"""Most pages of one PDF document."""

# ISO 32000-1, Annex H.3.4.1: readers accept a header within the first 1024 bytes.
_HEADER_BYTES = 1024
# What pdfium puts in place of a hyphen and the line end that it breaks a word at.
_BROKEN_WORD = "\ufffe"


def read_pdf(data: bytes) -> Extracted:
    """Read the text layer, page by page.

    Raises:
        UnparsableError: it is no PDF, encrypted, damaged, has too many pages, or no text on any of them.
    """
    if b"%PDF-" not in data[:_HEADER_BYTES]:
        raise wrong_format(data, "a PDF document")
    document = _open(data)
    if len(document) > MAX_PAGES:
        detail = f"{len(document)} pages are more than {MAX_PAGES}; split the document"
        raise UnparsableError(RejectionReason.TOO_MANY_PAGES, detail)
    text = join_pages(_pages(document))
    if not text.strip():
        detail = "no page has a text layer; scanned pages need optical character recognition (OCR) first"
        raise UnparsableError(RejectionReason.NO_TEXT_LAYER, detail)
    author = document.get_metadata_value("Author").strip()
    title = document.get_metadata_value("Title").strip()
    return Extracted(text, "pages", title, {"author": author} if author else {})


def _open(data: bytes) -> "PdfDocument":
    import pypdfium2
    import pypdfium2.raw

    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as exc:
        if exc.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise UnparsableError(RejectionReason.ENCRYPTED, "the PDF opens only with a password") from exc
        if exc.err_code == pypdfium2.raw.FPDF_ERR_SECURITY:
            raise UnparsableError(RejectionReason.ENCRYPTED, "the PDF is encrypted in an unknown way") from exc
        raise UnparsableError(RejectionReason.PARSER_ERROR, "the PDF is damaged or cut off") from exc


def _pages(document: "PdfDocument") -> Iterator[str]:
    import pypdfium2

    for number in range(len(document)):
        try:
            page = document[number]
            content = page.get_textpage()
        except pypdfium2.PdfiumError as exc:
            # A document without one of its pages would look whole.
            detail = f"page {number + 1} of {len(document)} is damaged"
            raise UnparsableError(RejectionReason.PARSER_ERROR, detail) from exc
        yield content.get_text_range().replace(_BROKEN_WORD, "")
        content.close()
        page.close()
