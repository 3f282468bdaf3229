"""Which reader reads which format; a new format is registered here and in `forebay.sources.formats`."""

from collections.abc import Callable

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers import sandbox
from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError
from spark_jobs.parse_documents.readers.delimited import read_csv, read_tsv
from spark_jobs.parse_documents.readers.docx import read_docx
from spark_jobs.parse_documents.readers.html import read_html
from spark_jobs.parse_documents.readers.json_file import read_json
from spark_jobs.parse_documents.readers.mail import read_mail
from spark_jobs.parse_documents.readers.pdf import read_pdf
from spark_jobs.parse_documents.readers.pptx import read_pptx
from spark_jobs.parse_documents.readers.text import read_markdown, read_text
from spark_jobs.parse_documents.readers.xlsx import read_xlsx
from spark_jobs.parse_documents.readers.xml_file import read_xml

__all__ = ["READERS", "read_document"]

READERS: dict[str, Callable[[bytes], Extracted]] = {
    "text": read_text,
    "markdown": read_markdown,
    "html": read_html,
    "pdf": read_pdf,
    "docx": read_docx,
    "pptx": read_pptx,
    "xlsx": read_xlsx,
    "csv": read_csv,
    "tsv": read_tsv,
    "json": read_json,
    "xml": read_xml,
    "mail": read_mail,
}
"""Readers by format."""

# They only decode.
_IN_PROCESS = frozenset({"text", "markdown"})


def read_document(data: bytes, format_name: str, *, timeout_s: float) -> Extracted:
    """Read the bytes of one file; all but plain text in a child process.

    Args:
        data: The whole file.
        format_name: One of `READERS`.
        timeout_s: Time after which the child is killed.

    Raises:
        UnparsableError: they are no document of that format, or its parser fails, takes too long or crashes.
        ConfigurationError: the child process doesn't start.
    """
    if not data:
        raise UnparsableError(RejectionReason.BLANK_TEXT, "the file is empty")
    reader = READERS[format_name]
    return reader(data) if format_name in _IN_PROCESS else sandbox.run(reader, data, timeout_s)
