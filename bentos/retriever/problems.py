"""What a caller whom nobody knows may read about a release that can't be opened."""

import re

from forebay.errors import ConfigurationError, ForebayError

__all__ = ["describe_failure"]

_LOG = "the retriever's log says more"
# `http://host:port`, with the quotation marks around it.
_ADDRESS = re.compile(r"['\"]?\b\w+://[^\s'\",;)]*['\"]?")
# The folders of a path, up to its last part.
_FOLDERS = re.compile(r"(?<=\s)(['\"]?)[^\s'\"]*/(?=[^\s/])")


def describe_failure(release_id: str, exc: Exception) -> str:
    """Say why a release can't be opened, in the words of our own errors.

    Their sentences name folders and hosts, which are not for everybody: a path keeps its last part, an address nothing.
    Settings, what another library said, and errors that aren't ours are left to the log.
    """
    if not isinstance(exc, ForebayError):
        return f"Release {release_id} can't be opened; {_LOG}."
    reason = "a setting is wrong; " + _LOG if isinstance(exc, ConfigurationError) else _own_words(exc)
    reason = _FOLDERS.sub(r"\1", " " + _ADDRESS.sub("its address", " ".join(reason.split()))).strip()
    # Some sentences begin as this one does.
    reason = reason.removeprefix(f"release {release_id} can't be opened: ")
    return f"Release {release_id} can't be opened: {reason.rstrip('.')}."


def _own_words(exc: ForebayError) -> str:
    reason = str(exc)
    cause = exc.__cause__
    while cause is not None:
        if not isinstance(cause, ForebayError) and str(cause):
            reason = reason.replace(str(cause), _LOG)
        cause = cause.__cause__
    return reason
