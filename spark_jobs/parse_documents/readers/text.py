"""Plain text and Markdown in any encoding."""

from spark_jobs.parse_documents.readers.contract import Extracted
from spark_jobs.parse_documents.readers.encodings import decode

__all__ = ["read_markdown", "read_text"]


def read_text(data: bytes) -> Extracted:
    """Decode a text file."""
    return Extracted(decode(data), "text")


def read_markdown(data: bytes) -> Extracted:
    """Decode a Markdown file; its title is the first heading of the first level."""
    text = decode(data)
    first = next((line for line in text.splitlines() if line.startswith("# ")), "")
    return Extracted(text, "markdown", first.removeprefix("# ").strip())
