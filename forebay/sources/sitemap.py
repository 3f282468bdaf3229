"""The pages of a web site that its sitemap lists."""

import dataclasses
import io
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import httpx

from forebay.documents import RejectionReason, content_hash
from forebay.errors import ConfigurationError
from forebay.settings import WebSettings
from forebay.sources.contract import Changes, ReadUnit, Record, Rejected, UnreadableError
from forebay.sources.formats import format_of
from forebay.sources.names import printable, refuse_credentials
from forebay.sources.records import records_of
from forebay.sources.sitemap_pages import list_pages
from forebay.sources.web_guard import Fetched, WebGuard

__all__ = ["SitemapSource"]

_ENDINGS = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/xml": ".xml",
    "application/xml": ".xml",
    "application/json": ".json",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
"""File endings of what a server says that it sends."""
_VAGUE = ("", "text/plain", "application/octet-stream", "binary/octet-stream")
"""What servers say of files that they don't know; the address tells more."""
_GONE = frozenset({404, 410})
"""What servers answer for pages that aren't there, whatever the sitemap says (RFC 9110, 15.5)."""
_CHARSET = re.compile(r"charset\s*=\s*[\"']?((?:iso-8859|windows|koi8|euc|shift|gb|big5)[a-z0-9_-]*)", re.IGNORECASE)
"""Encodings that are taken from the server; the readers find out Unicode by themselves."""


class SitemapSource:
    """Pages on the sitemap's host, read over http(s) from public addresses only (see `WebGuard`).

    A page is read again when the sitemap gives it another `lastmod`. One without `lastmod` is read at every run, and
    its content then tells whether it changed: its version holds a number that no other listing has. Pages that
    robots.txt forbids are not listed; a redirect within the host is followed without asking robots.txt again.
    """

    def __init__(self, name: str, settings: WebSettings) -> None:
        """Take the address apart; nothing is fetched.

        Raises:
            ConfigurationError: it isn't of the form `sitemap+https://host/sitemap.xml`, or holds credentials.
        """
        refuse_credentials(name, may_name_user=False)
        self._name = name
        self._settings = settings
        try:
            self._url = httpx.URL(name.removeprefix("sitemap+"))
        except (httpx.InvalidURL, ValueError) as exc:
            raise ConfigurationError(f"the address of the sitemap {name!r} is malformed.") from exc
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ConfigurationError(f"the sitemap {name!r} is not of the form sitemap+https://host/sitemap.xml.")

    @property
    def name(self) -> str:
        """The address, such as `sitemap+https://host/sitemap.xml`."""
        return self._name

    def changes(self, cursor: str | None = None) -> Changes:
        """List the pages; the cursor is a hash of them, and a new one every day where a page has no `lastmod`.

        Such a page is read at every run; a run every minute would be a burden on its server.

        Raises:
            ConfigurationError: the sitemap or robots.txt can't be read, or is too large.
        """
        listing = secrets.token_hex(8)
        pages = list_pages(self._guard(), str(self._url), self._settings)
        units = [
            ReadUnit(
                uri=page.url,
                format=_expected_format(page.url),
                version=printable(page.lastmod[:64].encode()) or f"listing-{listing}",
                address=page.url.encode(),
            )
            for page in pages
        ]
        today = datetime.now(UTC).date().isoformat()
        return Changes(units, content_hash(*(part for page in pages for part in (page.url, page.lastmod or today))))

    def read(self, unit: ReadUnit, max_bytes: int) -> Iterator[Record | Rejected]:
        """Get a page.

        Raises:
            UnreadableError: the server doesn't give it, it is too large or too slow, or its address is forbidden.
        """
        time.sleep(self._settings.delay_s)
        url = unit.address.decode()
        page = self._guard().fetch(url, max_bytes, only_host=httpx.URL(url).host)
        if page.status != 200:
            reason = RejectionReason.GONE if page.status in _GONE else RejectionReason.UNREADABLE
            raise UnreadableError(reason, f"the server answered {page.status}")
        format_name = _format(page)
        if format_name == "unsupported":
            kind = printable(page.content_type[:80].encode()) or "an unknown type"
            yield Rejected(unit.uri, 0, RejectionReason.UNSUPPORTED_FORMAT, f"pages of {kind} are not read")
            return
        data = _unicode(page)
        whole = dataclasses.replace(unit, format=format_name, end=len(data))
        for item in records_of(whole, io.BytesIO(data), max_bytes):
            yield item if isinstance(item, Rejected) else dataclasses.replace(item, metadata={"url": url})

    def acknowledge(self, changes: Changes, rejected: Sequence[Rejected]) -> None:
        """Do nothing: a web site keeps no account."""

    def _guard(self) -> WebGuard:
        return WebGuard(self._settings, frozenset({self._url.port} if self._url.port else ()))


def _expected_format(url: str) -> str:
    found = format_of(httpx.URL(url).path)
    # Most addresses of pages have no ending, or one that tells how the page is made.
    return "html" if found == "unsupported" else found


def _format(page: Fetched) -> str:
    kind = page.content_type.partition(";")[0].strip().lower()
    if kind not in _VAGUE:
        return format_of(f"x{_ENDINGS.get(kind, '')}")
    by_address = format_of(httpx.URL(page.url).path)
    return "text" if by_address == "unsupported" and kind == "text/plain" else by_address


def _unicode(page: Fetched) -> bytes:
    charset = _CHARSET.search(page.content_type)
    if charset is None or not page.content_type.lower().startswith(("text/", "application/xhtml")):
        return page.data
    try:
        page.data.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return page.data.decode(charset[1]).encode()
        except (LookupError, ValueError):
            return page.data
    return page.data
