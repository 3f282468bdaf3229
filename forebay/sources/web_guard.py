"""Fetch web pages from public addresses only, within limits of size and of time."""

import functools
import ssl
import zlib
from dataclasses import dataclass
from typing import NoReturn

import httpcore
import httpx

from forebay.documents import RejectionReason
from forebay.settings import WebSettings
from forebay.sources.contract import UnreadableError
from forebay.sources.web_network import GuardedNetwork

__all__ = ["Fetched", "WebGuard"]

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PORTS = frozenset((80, 443))


@dataclass(frozen=True)
class Fetched:
    """What a server answered."""

    url: str
    """Where, after redirects."""
    status: int
    content_type: str
    """As the server gave it: `text/html; charset=utf-8`; empty where it gave none."""
    data: bytes
    """The body, decompressed; empty unless the status is 200."""


class WebGuard:
    """A web client for addresses that others wrote: no page may lead it to a machine that only we can reach.

    A host is refused when any of its addresses isn't public, and what is connected to is the very address that was
    checked; TLS still checks the name. Proxies are not used, for they would look names up by themselves.
    """

    def __init__(self, settings: WebSettings, ports: frozenset[int] = frozenset()) -> None:
        """Keep the settings.

        Args:
            settings: Limits, and the hosts that may be private.
            ports: Allowed besides 80 and 443.
        """
        self._settings = settings
        self._ports = _PORTS | ports

    def fetch(self, url: str, max_bytes: int, *, only_host: str | None = None) -> Fetched:
        """Get a page, following redirects.

        Args:
            url: Absolute, http or https.
            max_bytes: Largest body, both as sent and decompressed.
            only_host: Host that redirects mustn't leave; None: any public one.

        Raises:
            UnreadableError: `FORBIDDEN_ADDRESS` for what we won't ask, `TOO_LARGE`, or `UNREADABLE`.
        """
        try:
            return self._fetch(_parsed(url), max_bytes, only_host)
        except httpcore.TimeoutException as exc:
            _refuse(RejectionReason.UNREADABLE, f"the server took longer than {self._settings.timeout_s:g} s", exc)
        except (httpcore.NetworkError, httpcore.ProtocolError) as exc:
            _refuse(RejectionReason.UNREADABLE, f"the server can't be reached ({str(exc)[:200]})", exc)
        except zlib.error as exc:
            _refuse(RejectionReason.UNREADABLE, "the compressed answer is broken", exc)

    def _fetch(self, target: httpx.URL, max_bytes: int, only_host: str | None) -> Fetched:
        allowed = self._settings.allow_private_hosts
        # A public page must not lead into a private network, not even to the hosts there that are sources.
        is_ours = target.raw_host.decode() in allowed
        network = GuardedNetwork(allowed if is_ours else frozenset(), self._settings.timeout_s)
        with httpcore.ConnectionPool(ssl_context=_tls(), network_backend=network) as pool:
            for _ in range(_MAX_REDIRECTS + 1):
                self._check(target, only_host)
                with pool.stream("GET", _core_url(target), headers=self._headers()) as response:
                    location = _header(response, b"location")
                    if response.status not in _REDIRECTS or not location:
                        data = _body(response, max_bytes) if response.status == 200 else b""
                        return Fetched(str(target), response.status, _header(response, b"content-type"), data)
                target = _parsed(location, target)
        _refuse(RejectionReason.UNREADABLE, f"it redirects more than {_MAX_REDIRECTS} times")

    def _check(self, target: httpx.URL, only_host: str | None) -> None:
        if target.scheme not in ("http", "https") or not target.host or target.userinfo:
            _refuse(RejectionReason.FORBIDDEN_ADDRESS, "the address is not of the form http(s)://host/path")
        if (target.port or 80) not in self._ports:
            _refuse(RejectionReason.FORBIDDEN_ADDRESS, f"port {target.port} is none that web sites use")
        if only_host is not None and target.host != only_host:
            _refuse(RejectionReason.FORBIDDEN_ADDRESS, f"it redirects to another host, {target.host!r}")

    def _headers(self) -> list[tuple[str, str]]:
        return [("User-Agent", self._settings.user_agent), ("Accept", "*/*"), ("Accept-Encoding", "gzip")]


def _parsed(address: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        return httpx.URL(address) if base is None else base.join(address)
    except (httpx.InvalidURL, ValueError) as exc:
        _refuse(RejectionReason.UNREADABLE, "its address, or one that it redirects to, is malformed", exc)


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("utf-8", "replace") for key, value in response.headers if key.lower() == name), "")


def _body(response: httpcore.Response, max_bytes: int) -> bytes:
    # By hand, for httpx inflates a whole piece before anybody can look at its size.
    encoding = _header(response, b"content-encoding").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        _refuse(RejectionReason.UNREADABLE, f"the server sent the encoding {encoding[:40]!r}, which wasn't asked for")
    inflater = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None
    data, sent_bytes = bytearray(), 0
    for piece in response.iter_stream():
        sent_bytes += len(piece)
        data += inflater.decompress(piece, max_bytes + 1 - len(data)) if inflater else piece
        if max(sent_bytes, len(data)) > max_bytes:
            _refuse(RejectionReason.TOO_LARGE, f"larger than {max_bytes} bytes")
    if inflater and data and not inflater.eof:
        _refuse(RejectionReason.UNREADABLE, "the compressed answer ends too early")
    return bytes(data)


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _refuse(reason: RejectionReason, detail: str, cause: Exception | None = None) -> NoReturn:
    raise UnreadableError(reason, detail) from cause
