"""Which pages a web site says that it has (https://www.sitemaps.org/protocol.html), and which we may read."""

import io
import time
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn
from urllib.robotparser import RobotFileParser

import httpx
from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from forebay.errors import ConfigurationError
from forebay.settings import WebSettings
from forebay.sources.contract import UnreadableError
from forebay.sources.web_guard import Fetched, WebGuard

__all__ = ["SitePage", "list_pages"]

_MAX_SITEMAPS = 500
_MAX_DEPTH = 3
_MAX_SITEMAP_BYTES = 50 * 2**20
"""Limit of the protocol, uncompressed."""
_MAX_LISTING_BYTES = 10 * _MAX_SITEMAP_BYTES
"""Largest sum of all sitemaps of a site, uncompressed."""
_MAX_LISTING_S = 1800
"""Longest time that reading them, and asking robots.txt about their pages, may take."""
_MAX_ROBOTS_BYTES = 512 * 2**10
"""A little more than RFC 9309, section 2.5, asks for."""


@dataclass(frozen=True)
class SitePage:
    """A page of the site."""

    url: str
    """Without a fragment."""
    lastmod: str
    """When it was changed, as the sitemap says; empty where it doesn't."""


@dataclass(frozen=True)
class _Entry:
    is_sitemap: bool
    url: str
    lastmod: str


def list_pages(guard: WebGuard, address: str, settings: WebSettings) -> list[SitePage]:
    """Read a sitemap and those that it names, as far as they lie on its host and robots.txt allows.

    Raises:
        ConfigurationError: a sitemap or robots.txt can't be read, or there are too many pages, or too much to read. A
            part of a sitemap is never taken for the whole: what it lacks would be deleted.
    """
    limits = _Limits(address)
    first = _fetch(guard, address)
    hosts = {httpx.URL(address).host, httpx.URL(first.url).host}
    pages: dict[str, str] = {}
    strangers: set[str] = set()
    for entry in _walk(guard, first, hosts, strangers, limits):
        if _host(entry.url) in hosts:
            pages.setdefault(entry.url, entry.lastmod)
        else:
            strangers.add(_host(entry.url))
        if len(pages) > settings.max_pages:
            raise ConfigurationError(
                f"the sitemap {address} lists more than {settings.max_pages} pages; set FOREBAY_WEB_MAX_PAGES."
            )
    if strangers and not pages:
        raise ConfigurationError(
            f"the sitemap {address} lists pages of other hosts only, such as {min(strangers)!r}; give the address "
            "that the sitemap has on that host."
        )
    robots = _Robots(guard, settings.user_agent)
    allowed: list[SitePage] = []
    for url, lastmod in pages.items():
        # A robots.txt may have very many rules, and each page is compared with all of them.
        limits.require()
        if robots.allow(url):
            allowed.append(SitePage(url, lastmod))
    return allowed


class _Limits:
    """What all sitemaps of a site may take together: each by itself may take much."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._end_s = time.monotonic() + _MAX_LISTING_S
        self._left_bytes = _MAX_LISTING_BYTES

    def require(self, size_bytes: int = 0) -> None:
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            self._refuse(f"is larger than {_MAX_LISTING_BYTES} bytes with all that it names")
        if time.monotonic() > self._end_s:
            self._refuse(f"takes longer than {_MAX_LISTING_S} s to list, with its robots.txt")

    def _refuse(self, problem: str) -> NoReturn:
        raise ConfigurationError(f"the sitemap {self._address} {problem}; give its parts, each as a source of its own.")


def _walk(guard: WebGuard, first: Fetched, hosts: set[str], strangers: set[str], limits: _Limits) -> Iterator[_Entry]:
    waiting = deque([(first.url, 1)])
    seen = {first.url}
    while waiting:
        url, depth = waiting.popleft()
        sitemap = first if url == first.url else _fetch(guard, url, _host(url))
        data = _inflated(sitemap)
        limits.require(len(data))
        for entry in _entries(sitemap.url, data):
            if not entry.is_sitemap:
                yield entry
            elif _host(entry.url) not in hosts:
                strangers.add(_host(entry.url))
            elif entry.url not in seen:
                seen.add(entry.url)
                waiting.append((entry.url, depth + 1))
                if depth >= _MAX_DEPTH or len(seen) > _MAX_SITEMAPS:
                    most = f"{_MAX_DEPTH} levels or {_MAX_SITEMAPS} files"
                    raise ConfigurationError(f"the sitemap {first.url} has more than {most}; give one of its parts.")


def _fetch(guard: WebGuard, url: str, only_host: str | None = None) -> Fetched:
    try:
        fetched = guard.fetch(url, _MAX_SITEMAP_BYTES, only_host=only_host)
    except UnreadableError as exc:
        raise ConfigurationError(
            f"the sitemap {url} can't be read: {exc}; check the address and the network, and set "
            "FOREBAY_WEB_ALLOW_PRIVATE_HOSTS where the host is meant to be private."
        ) from exc
    if fetched.status != 200:
        raise ConfigurationError(f"the sitemap {url} can't be read: the server answered {fetched.status}.")
    return fetched


def _entries(address: str, data: bytes) -> Iterator[_Entry]:
    events = etree.iterparse(io.BytesIO(data), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        for _, element in events:
            name = etree.QName(element).localname
            parent = element.getparent()
            if name in ("url", "sitemap") and parent is not None and parent.getparent() is None:
                if (url := _normal(element.findtext("{*}loc") or "")) is not None:
                    yield _Entry(name == "sitemap", url, (element.findtext("{*}lastmod") or "").strip())
                element.clear()
                while element.getprevious() is not None:
                    del parent[0]
        top = "" if events.root is None else etree.QName(events.root).localname
    except etree.XMLSyntaxError as exc:
        raise ConfigurationError(f"the sitemap {address} is not XML: {str(exc)[:200]}.") from exc
    if top not in ("urlset", "sitemapindex"):
        raise ConfigurationError(f"{address} is no sitemap: its root element is {top!r}.")


def _inflated(sitemap: Fetched) -> bytes:
    if not sitemap.data.startswith(b"\x1f\x8b"):
        return sitemap.data
    inflater = zlib.decompressobj(wbits=31)
    try:
        data = inflater.decompress(sitemap.data, _MAX_SITEMAP_BYTES + 1)
    except zlib.error as exc:
        raise ConfigurationError(f"the sitemap {sitemap.url} is a broken gzip file.") from exc
    if not inflater.eof:
        limit = f"it is cut off, or larger than {_MAX_SITEMAP_BYTES} bytes"
        raise ConfigurationError(f"the sitemap {sitemap.url} can't be unpacked: {limit}.")
    return data


def _normal(url: str) -> str | None:
    try:
        found = httpx.URL(url.strip()).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError):
        return None
    return str(found) if found.scheme in ("http", "https") and found.host else None


def _host(url: str) -> str:
    return httpx.URL(url).host


class _Robots:
    """What the robots.txt of each origin allows (RFC 9309)."""

    def __init__(self, guard: WebGuard, user_agent: str) -> None:
        self._guard = guard
        self._user_agent = user_agent
        self._parsers: dict[str, RobotFileParser] = {}

    def allow(self, url: str) -> bool:
        origin = str(httpx.URL(url).join("/robots.txt"))
        if origin not in self._parsers:
            self._parsers[origin] = self._parser(origin)
        return self._parsers[origin].can_fetch(self._user_agent, url)

    def _parser(self, address: str) -> RobotFileParser:
        try:
            fetched = self._guard.fetch(address, _MAX_ROBOTS_BYTES)
        except UnreadableError as exc:
            raise ConfigurationError(f"{address} can't be read ({exc}), so no page may be; try again later.") from exc
        # Section 2.3.1: a server that has none allows all, one that fails forbids all.
        if fetched.status >= 500 or fetched.status == 429:
            raise ConfigurationError(
                f"{address} can't be read (the server answered {fetched.status}), so no page may be; try again later."
            )
        parser = RobotFileParser()
        parser.parse(fetched.data.decode("utf-8", "replace").splitlines())
        return parser
