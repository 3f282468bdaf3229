"""On whose behalf a request is made: what a trusted proxy in front of the gateway says in its headers."""

from starlette.datastructures import Headers

from bentos.gateway.errors import ApiError
from forebay.settings import ServingSettings
from forebay.store import Caller

__all__ = ["read_caller"]

_MAX_NAME_CHARS = 200
_MAX_GROUPS = 200


def read_caller(headers: Headers, settings: ServingSettings) -> Caller:
    """Read tenant and groups from the headers that the settings name; nothing else of a request can set them.

    Raises:
        ApiError: 400, a header is there twice, or its value is no name.
    """
    tenant = _read(headers, settings.tenant_header)
    groups = [name for part in _read(headers, settings.groups_header).split(",") if (name := part.strip())]
    if len(groups) > _MAX_GROUPS:
        raise _refusal(settings.groups_header, f"names {len(groups)} groups; at most {_MAX_GROUPS} are allowed")
    for header, name in ((settings.tenant_header, tenant), *((settings.groups_header, group) for group in groups)):
        if len(name) > _MAX_NAME_CHARS or not name.isprintable():
            raise _refusal(header, f"must hold names of at most {_MAX_NAME_CHARS} printable characters")
    return Caller(tenant or None, frozenset(groups))


def _read(headers: Headers, header: str) -> str:
    values = headers.getlist(header) if header else []
    # A proxy that adds its header to the client's own, instead of replacing it, would let clients choose.
    if len(values) > 1:
        raise _refusal(header, "was sent more than once; the proxy must replace what the client sends")
    try:
        # HTTP's headers are bytes, which Starlette reads as Latin-1.
        return "".join(values).encode("latin-1").decode().strip()
    except UnicodeDecodeError as exc:
        raise _refusal(header, "is not UTF-8") from exc


def _refusal(header: str, problem: str) -> ApiError:
    return ApiError(400, f"The header {header!r} {problem}.", param=header, code="invalid_caller")
