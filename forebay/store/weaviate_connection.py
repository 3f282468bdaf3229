"""How a Weaviate cluster is reached."""

import asyncio
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import weaviate
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import OAuth2Client
from grpc import ssl_channel_credentials
from httpx import Client, HTTPError
from weaviate import WeaviateAsyncClient, WeaviateClient
from weaviate.auth import AuthCredentials
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.config import GrpcConfig
from weaviate.exceptions import (
    AuthenticationFailedError,
    MissingScopeError,
    UnexpectedStatusCodeException,
    WeaviateBaseError,
)

from forebay.errors import ConfigurationError, ReleaseError
from forebay.settings import WeaviateSettings

__all__ = ["connect", "connect_async"]

_INIT_TIMEOUT_S = 5


def connect(settings: WeaviateSettings) -> WeaviateClient:
    """Connect to a cluster for everything but searches; whoever asked for it closes the client.

    A client belongs to the process that connected: one per Spark task and per serving process, never across a fork.

    Raises:
        ConfigurationError: a secret's file can't be read, there is both an API key and a client secret, a scope is
            missing, there is a client secret and the cluster has no OIDC, or the address names no port.
        ReleaseError: the cluster or its identity provider doesn't answer, or refuses who we are.
    """
    # Who asks here counts what was written, which takes longer than a search may.
    parameters = _parameters(settings, query_s=settings.insert_timeout_s)
    with _named(settings):
        _require_oidc(settings)
        return weaviate.connect_to_custom(**parameters)


async def connect_async(settings: WeaviateSettings) -> WeaviateAsyncClient:
    """Connect an asynchronous client for searches, with a connection of its own; see `connect`.

    Raises:
        ConfigurationError: as `connect`.
        ReleaseError: as `connect`.
    """
    client = weaviate.use_async_with_custom(**_parameters(settings, query_s=settings.query_timeout_s))
    with _named(settings):
        await asyncio.to_thread(_require_oidc, settings)
        try:
            await client.connect()
        except BaseException:
            await client.close()
            raise
    return client


def _parameters(settings: WeaviateSettings, *, query_s: float) -> dict[str, Any]:
    host, port, tls = _address(settings)
    grpc_tls = tls if settings.grpc_tls is None else settings.grpc_tls
    authorities = _authorities(settings) if tls or grpc_tls else None
    return {
        "http_host": host,
        "http_port": port,
        "http_secure": tls,
        "grpc_host": settings.grpc_host or host,
        "grpc_port": settings.grpc_port,
        "grpc_secure": grpc_tls,
        "auth_credentials": _credentials(settings),
        "additional_config": AdditionalConfig(
            timeout=Timeout(init=_INIT_TIMEOUT_S, query=query_s, insert=settings.insert_timeout_s),
            grpc_config=GrpcConfig(
                # Otherwise gRPC gives all channels of a process to one address the same connection.
                channel_options=[("grpc.use_local_subchannel_pool", 1)],
                credentials=None if authorities is None else ssl_channel_credentials(authorities),
            ),
            # The client lets no other file of authorities reach its REST half than that of the environment.
            trust_env=authorities is not None,
        ),
        "skip_init_checks": settings.skip_init_checks,
    }


def _authorities(settings: WeaviateSettings) -> bytes | None:
    """Read the certificates of the authorities that are trusted; None: those that come with the client."""
    if settings.ca_file is None:
        return None
    try:
        ssl.create_default_context(cafile=settings.ca_file)
        return settings.ca_file.read_bytes()
    except OSError as exc:
        raise ConfigurationError(
            f"SSL_CERT_FILE names {str(settings.ca_file)!r}, which can't be read as certificates in PEM."
        ) from exc


def _require_oidc(settings: WeaviateSettings) -> None:
    """See to it that the cluster names an identity provider: where it names none, the client goes on as nobody.

    Raises:
        ConfigurationError: there is a client secret, and the cluster has no OIDC.
        ReleaseError: the cluster doesn't answer as it should.
    """
    if settings.oidc_client_secret_file is None:
        return
    address = f"{settings.url.rstrip('/')}/v1/.well-known/openid-configuration"
    try:
        answer = httpx.get(address, timeout=_INIT_TIMEOUT_S, trust_env=settings.ca_file is not None)
    except HTTPError as exc:
        raise _unreachable(settings, exc) from exc
    if answer.status_code == HTTPStatus.NOT_FOUND:
        raise ConfigurationError(
            f"there is a client secret (FOREBAY_WEAVIATE_OIDC_CLIENT_SECRET_FILE), but Weaviate at {settings.url!r} "
            "has no OIDC; set AUTHENTICATION_OIDC_ENABLED and what belongs to it on the cluster, or unset the secret "
            "and use FOREBAY_WEAVIATE_API_KEY_FILE."
        )
    try:
        is_found = answer.status_code == HTTPStatus.OK and "href" in answer.json()
    except ValueError:
        is_found = False
    if not is_found:
        raise ReleaseError(
            f"{address!r} answers {answer.status_code} and no OIDC configuration; correct FOREBAY_WEAVIATE_URL, or "
            "look at the proxy in front of Weaviate."
        )


@contextmanager
def _named(settings: WeaviateSettings) -> Generator[None]:
    try:
        yield
    except MissingScopeError as exc:
        raise ConfigurationError(
            f"Weaviate at {settings.url!r} names no scope of its identity provider; set FOREBAY_WEAVIATE_OIDC_SCOPES."
        ) from exc
    except (AuthenticationFailedError, UnexpectedStatusCodeException, AuthlibBaseError) as exc:
        raise ReleaseError(
            f"Weaviate at {settings.url!r} refuses the connection; look at FOREBAY_WEAVIATE_API_KEY_FILE, or "
            "FOREBAY_WEAVIATE_OIDC_CLIENT_SECRET_FILE.",
            public="Weaviate refuses the connection",
        ) from exc
    except HTTPError as exc:
        raise ReleaseError(f"the identity provider of Weaviate at {settings.url!r} doesn't answer: {exc!r}.") from exc
    except WeaviateBaseError as exc:
        raise _unreachable(settings, exc) from exc


def _unreachable(settings: WeaviateSettings, exc: BaseException) -> ReleaseError:
    reason: BaseException | None = exc
    while reason is not None and not isinstance(reason, ssl.SSLCertVerificationError):
        reason = reason.__cause__ or reason.__context__
    if reason is None:
        return ReleaseError(
            f"Weaviate at {settings.url!r} doesn't answer; start it, or correct FOREBAY_WEAVIATE_URL, _GRPC_HOST and "
            "_GRPC_PORT.",
            public="Weaviate doesn't answer",
        )
    return ReleaseError(
        f"the certificate of Weaviate at {settings.url!r} isn't trusted ({reason.verify_message}); let SSL_CERT_FILE "
        "name a file with the certificate of its authority in PEM, or correct FOREBAY_WEAVIATE_URL.",
        public="the certificate of Weaviate isn't trusted",
    )


def _address(settings: WeaviateSettings) -> tuple[str, int, bool]:
    try:
        parts = urlsplit(settings.url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise ConfigurationError(f"FOREBAY_WEAVIATE_URL is {settings.url!r}; write http://host:port.") from exc
    tls = parts.scheme == "https"
    if not host:
        raise ConfigurationError(f"FOREBAY_WEAVIATE_URL is {settings.url!r}; write http://host:port.")
    return host, port or (443 if tls else 80), tls


def _credentials(settings: WeaviateSettings) -> AuthCredentials | None:
    key = None if settings.api_key is None else settings.api_key.get_secret_value()
    if settings.api_key_file is not None:
        key = _secret(settings.api_key_file)
    if settings.oidc_client_secret_file is None:
        return None if key is None else Auth.api_key(key)
    if key is not None:
        raise ConfigurationError(
            "there is both an API key (FOREBAY_WEAVIATE_API_KEY, _API_KEY_FILE) and a client secret "
            "(FOREBAY_WEAVIATE_OIDC_CLIENT_SECRET_FILE); set one of them."
        )
    # The client would end in a TypeError: Authlib 1.8 and later take another httpx than it.
    if not issubclass(OAuth2Client, Client):
        raise ConfigurationError("the installed Authlib doesn't fit weaviate-client; install `authlib<1.8` for OIDC.")
    return Auth.client_credentials(_secret(settings.oidc_client_secret_file), list(settings.oidc_scopes))


def _secret(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"the secret's file {str(path)!r} can't be read.") from exc
