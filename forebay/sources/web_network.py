"""Network connections to public addresses only, and only until a moment."""

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore

from forebay.documents import RejectionReason
from forebay.sources.contract import UnreadableError

__all__ = ["GuardedNetwork", "is_public"]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Well-known prefix of IPv4 addresses behind a translator (RFC 6052, section 2.1)."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Tell whether an IP address is one that everybody reaches, seen through the ways to write IPv4 as IPv6."""
    found = _unwrapped(address)
    return found.is_global and not _is_special(found) and not found.is_reserved


def _may_be_ours(address: str) -> bool:
    # Link-local ones stay refused: cloud machines hand out credentials there.
    found = _unwrapped(address)
    return is_public(address) or found.is_loopback or (found.is_private and not _is_special(found))


def _is_special(address: _Address) -> bool:
    is_site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_multicast or address.is_link_local or address.is_unspecified or is_site_local


def _unwrapped(address: str) -> _Address:
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv4Address):
        return found
    if found in _NAT64:
        return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.ipv4_mapped or found.sixtofour or found


class GuardedNetwork(httpcore.NetworkBackend):
    """Connects to the very address that was checked, and lets nothing wait when the time is over.

    The time for looking up a name is limited by the resolver's own settings only.
    """

    def __init__(self, may_be_private: frozenset[str], timeout_s: float) -> None:
        """Let the clock run.

        Args:
            may_be_private: Hosts that may lie in a private network; all others must be public, at all their addresses.
            timeout_s: Time for everything that is done with the connections.
        """
        self._may_be_private = may_be_private
        self._end_s = time.monotonic() + timeout_s

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Look the host up once, check all its addresses, and connect to one of them.

        Raises:
            UnreadableError: an address is forbidden.
            httpcore.ConnectError: none answers.
        """
        addresses = _addresses(host, port)
        is_fine = _may_be_ours if host in self._may_be_private else is_public
        if not all(is_fine(address) for address in addresses):
            detail = f"the host {host!r} lies in a private network"
            raise UnreadableError(RejectionReason.FORBIDDEN_ADDRESS, detail)
        backend = httpcore.SyncBackend()
        for address in addresses[:-1]:
            try:
                stream = backend.connect_tcp(address, port, self.left_s(), local_address, socket_options)
                return _TimedStream(stream, self)
            except httpcore.ConnectError:
                continue
        stream = backend.connect_tcp(addresses[-1], port, self.left_s(), local_address, socket_options)
        return _TimedStream(stream, self)

    def left_s(self) -> float:
        """Tell the time that is left.

        Raises:
            httpcore.ReadTimeout: none is.
        """
        left = self._end_s - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time is over")
        return left


class _TimedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, network: GuardedNetwork) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.left_s())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._network.left_s())
        return _TimedStream(stream, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise httpcore.ConnectError(f"the host {host!r} is not known") from exc
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
