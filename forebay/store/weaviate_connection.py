"""How a Weaviate cluster is reached."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import weaviate
from weaviate import WeaviateAsyncClient, WeaviateClient
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.config import GrpcConfig
from weaviate.exceptions import AuthenticationFailedError, UnexpectedStatusCodeException, WeaviateBaseError

from forebay.errors import ConfigurationError, ReleaseError
from forebay.settings import WeaviateSettings

__all__ = ["connect", "connect_async"]


def connect(settings: WeaviateSettings) -> WeaviateClient:
    """Connect to a cluster; whoever asked for it closes the client.

    A client belongs to the process that connected: one per Spark task and per serving process, never across a fork.

    Raises:
        ConfigurationError: the API key's file can't be read, or the address names no port.
        ReleaseError: the cluster doesn't answer, or refuses the API key.
    """
    parameters = _parameters(settings)
    with _named(settings):
        return weaviate.connect_to_custom(**parameters)


async def connect_async(settings: WeaviateSettings) -> WeaviateAsyncClient:
    """Connect an asynchronous client, with a connection of its own; see `connect`.

    Raises:
        ConfigurationError: as `connect`.
        ReleaseError: as `connect`.
    """
    client = weaviate.use_async_with_custom(**_parameters(settings))
    with _named(settings):
        try:
            await client.connect()
        except BaseException:
            await client.close()
            raise
    return client


def _parameters(settings: WeaviateSettings) -> dict[str, Any]:
    host, port, tls = _address(settings)
    key = _api_key(settings)
    return {
        "http_host": host,
        "http_port": port,
        "http_secure": tls,
        "grpc_host": settings.grpc_host or host,
        "grpc_port": settings.grpc_port,
        "grpc_secure": tls if settings.grpc_tls is None else settings.grpc_tls,
        "auth_credentials": None if key is None else Auth.api_key(key),
        "additional_config": AdditionalConfig(
            timeout=Timeout(init=5, query=settings.query_timeout_s, insert=settings.insert_timeout_s),
            # Otherwise gRPC gives all channels of a process to one address the same connection.
            grpc_config=GrpcConfig(channel_options=[("grpc.use_local_subchannel_pool", 1)]),
        ),
        "skip_init_checks": settings.skip_init_checks,
    }


@contextmanager
def _named(settings: WeaviateSettings) -> Generator[None]:
    try:
        yield
    except (AuthenticationFailedError, UnexpectedStatusCodeException) as exc:
        raise ReleaseError(
            f"Weaviate at {settings.url!r} refuses the connection; look at FOREBAY_WEAVIATE_API_KEY_FILE."
        ) from exc
    except WeaviateBaseError as exc:
        raise ReleaseError(
            f"Weaviate at {settings.url!r} doesn't answer; start it, or correct FOREBAY_WEAVIATE_URL, _GRPC_HOST and "
            "_GRPC_PORT."
        ) from exc


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


def _api_key(settings: WeaviateSettings) -> str | None:
    if settings.api_key_file is None:
        return None if settings.api_key is None else settings.api_key.get_secret_value()
    try:
        return settings.api_key_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"the API key's file {str(settings.api_key_file)!r} can't be read.") from exc
