"""The machine's own pip configuration, told to uv, which doesn't read it."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["effective_settings", "read_settings", "uv_environment", "uv_options"]


def read_settings(listing: str) -> list[tuple[str, str, str]]:
    """Read what `pip config list` prints, environment variables included.

    Args:
        listing: Lines such as `global.index-url='https://...'` or `:env:.find-links='/wheels'`.

    Returns:
        (section, option, value) in the order of the listing.
    """
    found: list[tuple[str, str, str]] = []
    for line in listing.splitlines():
        match = re.fullmatch(r"([^.=]+)\.([a-z-]+)=(['\"].*['\"])", line.strip())
        if match:
            found.append((match[1], match[2], str(ast.literal_eval(match[3]))))
    return found


def effective_settings(settings: list[tuple[str, str, str]]) -> dict[str, str]:
    """Merge the sections that concern `pip install` as pip does: environment over `install` over `global`."""
    merged: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        merged.update({option: value for name, option, value in settings if name == section})
    return merged


def uv_environment(pip: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Say the same to uv; what the user told uv itself wins.

    pip takes the best version out of all its indexes, uv by default only looks in the first that knows a
    package: so uv is told to do as pip does. (The lock pins versions and hashes: nothing else can slip in.)
    """
    extra = [url for url in pip.get("extra-index-url", "").split() if _exists(url)]
    links = [place for place in pip.get("find-links", "").split() if _exists(place)]
    told = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(extra),
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
        "UV_FIND_LINKS": ",".join(links),
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        "UV_HTTP_TIMEOUT": pip.get("timeout", pip.get("default-timeout", "")),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "SSL_CLIENT_CERT": pip.get("client-cert", ""),
        "ALL_PROXY": pip.get("proxy", ""),
    }
    return {name: value for name, value in told.items() if value and not environment.get(name)}


def uv_options(pip: Mapping[str, str]) -> list[str]:
    """Say what uv takes as an option only."""
    return ["--no-index"] if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} else []


def _exists(place: str) -> bool:
    """Leave out folders that aren't there: pip passes over them, uv stops."""
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).exists()
    return bool(parts.scheme) or Path(place).exists()
