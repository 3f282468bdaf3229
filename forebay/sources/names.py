"""What the names of sources and of the things in them may look like."""

import re

from forebay.errors import ConfigurationError

__all__ = ["is_hidden", "printable", "refuse_credentials"]

# A container or user, a host, a port; several divided by commas where a source has several hosts.
_HOST = re.compile(r"(?P<user>[^:@\[\]]*@)?(\[[0-9A-Fa-f:.]+\]|[^:@\[\]]*)(:\d*)?")


def refuse_credentials(name: str, *, may_name_user: bool = True) -> None:
    """Check that an address holds no password, for names stand in tables, logs and messages.

    Args:
        name: A path, which always passes, or an address such as `s3://bucket/folder`.
        may_name_user: Whether `user@` alone may stand there. A token may stand in its place with https; with ssh it is
            a login, and with abfs a container.

    Raises:
        ConfigurationError: it does. What it holds is not repeated.
    """
    scheme, found, rest = name.partition("://")
    if not found:
        return
    for host in re.split(r"[/?#]", rest, maxsplit=1)[0].split(","):
        match = _HOST.fullmatch(host)
        if match is None or (match["user"] and not may_name_user):
            raise ConfigurationError(
                f"the name of a {scheme}:// source holds a user, a password or a port that is no number; leave them "
                "out: credentials come from the environment or from the tool's own files."
            )


def is_hidden(path: str) -> bool:
    """Tell whether a part of a path below the source begins with a dot."""
    return any(part.startswith(".") for part in path.split("/"))


def printable(name: bytes) -> str:
    """Write a name of any bytes so that it can stand in a table, a log and a terminal."""
    text = name.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
