"""Tell what bytes are by how they begin, for the sentence that says why a file is refused."""

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.contract import UnparsableError

__all__ = ["OLE", "is_binary", "what_it_is", "wrong_format"]

OLE = bytes.fromhex("d0cf11e0a1b11ae1")
"""Start of an OLE compound file ([MS-CFB] 2.2): an encrypted Office file, or one of Office 97-2003."""

_BEGINNINGS = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (OLE, "an OLE compound file"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x7fELF", "a Linux program"),
    (b"MZ", "a Windows program"),
    (b"{\\rtf", "an RTF document"),
    (b"ID3", "an MP3 recording"),
    (b"OggS", "an Ogg recording"),
    (b"RIFF", "a RIFF recording or picture"),
)
_WEB_PAGES = (b"<!doctype html", b"<html")
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def what_it_is(data: bytes) -> str:
    """Name the kind of a file, such as `a PNG picture`."""
    if not data:
        return "an empty file"
    for beginning, name in _BEGINNINGS:
        if data.startswith(beginning):
            return name
    head = data[:1024].lstrip()
    if head[:14].lower().startswith(_WEB_PAGES):
        return "a web page"
    if head.startswith(b"<?xml"):
        return "an XML document"
    return "of an unknown kind" if is_binary(data) else "plain text"


def is_binary(data: bytes) -> bool:
    """Say whether the bytes begin as no text does: with a NUL byte, or as a PDF document."""
    if data.startswith(_MARKS):
        # UTF-16 and UTF-32 are full of NUL bytes.
        return False
    return data.startswith(b"%PDF-") or b"\x00" in data[:1024]


def wrong_format(data: bytes, wanted: str) -> UnparsableError:
    """Make the error for bytes that are something else than `wanted`, such as `a PDF document`."""
    return UnparsableError(RejectionReason.WRONG_FORMAT, f"the bytes are {what_it_is(data)}, not {wanted}")
