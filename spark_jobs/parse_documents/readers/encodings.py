"""Tell text from binary junk, and decode it."""

import codecs

import charset_normalizer

from forebay.documents import RejectionReason
from spark_jobs.parse_documents.readers.contract import UnparsableError

__all__ = ["decode"]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = bytes(frozenset(range(32)) - {9, 10, 12, 13, 27})
_MAX_CONTROL_SHARE = 0.02
_SNIFFED_BYTES = 64 * 1024


def decode(data: bytes) -> str:
    """Decode bytes as UTF-8, by their byte order mark, or by the encoding that charset-normalizer is sure of.

    Raises:
        UnparsableError: they are not text, or in no encoding that can be told.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as exc:
                detail = f"begins as {encoding} but does not go on so"
                raise UnparsableError(RejectionReason.UNKNOWN_ENCODING, detail) from exc
    sniffed = data[:_SNIFFED_BYTES]
    n_control = len(sniffed) - len(sniffed.translate(None, _CONTROL))
    if sniffed and n_control / len(sniffed) > _MAX_CONTROL_SHARE:
        raise UnparsableError(RejectionReason.BINARY_CONTENT, "the bytes are not text")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        best = charset_normalizer.from_bytes(data).best()
    if best is None:
        raise UnparsableError(RejectionReason.UNKNOWN_ENCODING, "neither UTF-8 nor another encoding that can be told")
    return str(best)
