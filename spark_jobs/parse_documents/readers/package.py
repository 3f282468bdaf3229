"""Check the ZIP package of an Office file before a parser unpacks it."""

import re
import zipfile
from io import BytesIO

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.contract import UnparsableError
from spark_jobs.parse_documents.readers.magic import OLE, wrong_format

__all__ = ["open_package"]

_MAX_ENTRIES = 10_000
_MAX_BYTES = 128 * 2**20
_MAX_RATIO = 200
# Small files compress well for innocent reasons.
_RATIO_FROM_BYTES = 16 * 2**20
# ECMA-376 part 2 allows no document type in a part, which is where entities would be declared.
_XML_ENDINGS = (".xml", ".rels")
_DECLARATION_BYTES = 64 * 2**10
_SHOWN_CHARS = 100
_CONTENT_TYPES = "[Content_Types].xml"
# ECMA-376 part 1, 15.2.x: the content type of a package's main part says what it is; macros change the vendor part.
_KINDS = {
    "a DOCX document": re.compile(rb"(wordprocessingml|ms-word)\.[\w.]*main\+xml"),
    "an XLSX workbook": re.compile(rb"(spreadsheetml|ms-excel)\.[\w.]*main\+xml"),
    "a PPTX presentation": re.compile(rb"(presentationml|ms-powerpoint)\.[\w.]*main\+xml"),
}
_OLD_STREAMS = {
    "WordDocument": "a Word document (.doc)",
    "Workbook": "an Excel workbook (.xls)",
    "PowerPoint Document": "a PowerPoint presentation (.ppt)",
}


def open_package(data: bytes, wanted: str) -> BytesIO:
    """Give the bytes as a file, once its directory has shown what it is and that it stays small.

    Args:
        data: The file.
        wanted: `a DOCX document`, `an XLSX workbook` or `a PPTX presentation`.

    Raises:
        UnparsableError: it is something else, encrypted, damaged, or too large once it is unpacked.
    """
    if data.startswith(OLE):
        raise _compound(data, wanted)
    if not data.startswith(b"PK"):
        raise wrong_format(data, wanted)
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            _check_sizes(archive.infolist())
            kind = _kind(archive)
            _check_entities(archive)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as exc:
        raise UnparsableError(RejectionReason.PARSER_ERROR, f"the ZIP package is damaged or cut off: {exc}") from exc
    if kind != wanted:
        raise UnparsableError(RejectionReason.WRONG_FORMAT, f"the bytes are {kind}, not {wanted}")
    return BytesIO(data)


def _compound(data: bytes, wanted: str) -> UnparsableError:
    # [MS-CFB] 2.6.1: stream names stand in the directory as UTF-16LE; [MS-OFFCRYPTO] 2.3.4 names this one.
    if "EncryptedPackage".encode("utf-16-le") in data:
        return UnparsableError(RejectionReason.ENCRYPTED, "the Office file opens only with a password")
    for stream, name in _OLD_STREAMS.items():
        if stream.encode("utf-16-le") in data:
            detail = f"the bytes are {name} of Office 97-2003, not {wanted}; save it in the newer format"
            return UnparsableError(RejectionReason.WRONG_FORMAT, detail)
    return wrong_format(data, wanted)


def _check_sizes(entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > _MAX_ENTRIES:
        detail = f"the ZIP package has {len(entries)} entries, more than {_MAX_ENTRIES}"
        raise UnparsableError(RejectionReason.EXPANDS_TOO_FAR, detail)
    packed = sum(entry.compress_size for entry in entries)
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > _MAX_BYTES or (unpacked > _RATIO_FROM_BYTES and unpacked > packed * _MAX_RATIO):
        detail = (
            f"the ZIP package unpacks from {packed} to {unpacked} bytes; at most {_MAX_BYTES} bytes "
            f"and {_MAX_RATIO} times its size are accepted"
        )
        raise UnparsableError(RejectionReason.EXPANDS_TOO_FAR, detail)


def _check_entities(archive: zipfile.ZipFile) -> None:
    """Refuse entities before a parser sees them: some would leave them out, and the text behind them with them."""
    for entry in archive.infolist():
        if not entry.filename.lower().endswith(_XML_ENDINGS):
            continue
        with archive.open(entry) as stream:
            head = stream.read(_DECLARATION_BYTES)
        # Without the NUL bytes of UTF-16.
        if b"<!ENTITY" in head.replace(b"\x00", b""):
            detail = f"its part {entry.filename[:_SHOWN_CHARS]!r} declares entities, as entity bombs do"
            raise UnparsableError(RejectionReason.EXPANDS_TOO_FAR, detail)


def _kind(archive: zipfile.ZipFile) -> str:
    try:
        content_types = archive.read(_CONTENT_TYPES)
    except KeyError:
        return "a ZIP archive without an Office document"
    except RuntimeError as exc:
        # zipfile's way of asking for a password.
        raise UnparsableError(RejectionReason.ENCRYPTED, "the ZIP package opens only with a password") from exc
    kinds = (name for name, pattern in _KINDS.items() if pattern.search(content_types))
    return next(kinds, "a ZIP archive without an Office document")
