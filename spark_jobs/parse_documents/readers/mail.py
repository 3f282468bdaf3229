"""E-mail messages (RFC 5322, MIME)."""

import email
import email.policy
from email.message import EmailMessage, MIMEPart
from email.utils import parsedate_to_datetime

from spark_jobs.parse_documents.readers.contract import Extracted, UnparsableError
from spark_jobs.parse_documents.readers.encodings import decode
from spark_jobs.parse_documents.readers.html import read_html
from spark_jobs.parse_documents.readers.joining import join_bounded
from spark_jobs.parse_documents.readers.magic import is_binary, wrong_format

__all__ = ["read_mail"]

# Of a letter to very many people.
_MAX_HEADER_CHARS = 2000
_TELLTALES = ("from", "to", "subject", "date", "received", "message-id", "return-path")


def read_mail(data: bytes) -> Extracted:
    """Read the body, plain before HTML, and the names of the attachments; the title is the subject.

    Raises:
        UnparsableError: it has none of a message's headers.
    """
    if is_binary(data):
        raise wrong_format(data, "an e-mail message")
    message = email.message_from_bytes(data, policy=email.policy.default)
    if not any(name in message for name in _TELLTALES):
        raise wrong_format(data, "an e-mail message")
    body, format_name = _body(message)
    names = ", ".join(part.get_filename() or part.get_content_type() for part in message.iter_attachments())
    text = join_bounded([body, f"Attachments: {names}" if names else ""])
    headers = {"from": _header(message, "from"), "to": _header(message, "to"), "date": _date(message)}
    metadata = {name: value[:_MAX_HEADER_CHARS] for name, value in headers.items() if value}
    return Extracted(text, format_name, _header(message, "subject"), metadata)


def _body(message: EmailMessage) -> tuple[str, str]:
    plain = message.get_body(("plain",))
    if plain is not None and (text := _text(plain)).strip():
        return text, "text"
    html = message.get_body(("html",))
    return ("", "text") if html is None else _of_html(_text(html))


def _of_html(html: str) -> tuple[str, str]:
    import trafilatura

    # Mail programs send mere fragments, which trafilatura takes for no web page.
    page = html if "<html" in html.lower() else f"<html><body>{html}</body></html>"
    try:
        found = read_html(page.encode())
    except UnparsableError:
        # Too short for the main text of a page: all of its text, then.
        return trafilatura.html2txt(page), "text"
    return found.text, found.format


def _text(part: MIMEPart) -> str:
    try:
        return part.get_content()
    except (LookupError, UnicodeError):
        # A charset that doesn't exist, or that the bytes don't follow.
        payload = part.get_payload(decode=True)
        return decode(payload) if isinstance(payload, bytes) else ""


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (AttributeError, IndexError, LookupError, TypeError, ValueError):
        # The standard library's header parser trips over some malformed addresses.
        raw = dict(message.raw_items()).get(name.title(), "")
        return " ".join(str(raw).split())


def _date(message: EmailMessage) -> str:
    value = _header(message, "date")
    try:
        return parsedate_to_datetime(value).isoformat()
    except ValueError:
        return value
