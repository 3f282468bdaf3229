"""The name of a Git source: `git+https://host/repo.git?path=docs#branch`."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from forebay.errors import ConfigurationError
from forebay.sources.names import refuse_credentials

__all__ = ["GitAddress"]

_FORM = "git+https://host/repo.git?path=docs#branch"
_SCHEMES = ("git+https", "git+ssh", "git+file", "git+http")


@dataclass(frozen=True)
class GitAddress:
    """Which repository is read, at which branch or tag, and which of its folders."""

    url: str
    """What Git calls the remote: `https://host/repo.git`."""
    folder: str = ""
    """Folder, or file, that is read; empty for all."""
    branch: str = ""
    """Branch or tag; empty for the one that the remote has checked out."""

    @classmethod
    def parse(cls, name: str) -> "GitAddress":
        """Take a source's name apart.

        Raises:
            ConfigurationError: it isn't of the form above, holds credentials, or would be sent in the clear.
        """
        refuse_credentials(name, may_name_user=name.startswith("git+ssh://"))
        parts = urlsplit(name)
        fields = dict(parse_qsl(parts.query, keep_blank_values=True))
        folder = "/".join(part for part in fields.pop("path", "").split("/") if part not in ("", "."))
        if parts.scheme not in _SCHEMES or fields or ".." in folder.split("/") or len(parts.path) < 2:
            raise ConfigurationError(f"the Git source {name!r} is not of the form {_FORM}.")
        if parts.scheme == "git+file" and parts.netloc:
            raise ConfigurationError(f"the path of the Git source {name!r} must be absolute: git+file:///path/repo.")
        if parts.scheme != "git+file" and not parts.hostname:
            raise ConfigurationError(f"the Git source {name!r} names no host; it must look like {_FORM}.")
        if parts.scheme == "git+http" and not _is_this_machine(parts.hostname or ""):
            raise ConfigurationError(f"{name!r} would be fetched without encryption; use git+https or git+ssh.")
        scheme = parts.scheme.removeprefix("git+")
        return cls(f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}", folder, unquote(parts.fragment))


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
