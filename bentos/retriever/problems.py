"""What a caller whom nobody knows may read about a release that can't be opened."""

from forebay.errors import ForebayError

__all__ = ["describe_failure"]


def describe_failure(release_id: str, exc: Exception) -> str:
    """Say why a release can't be opened, as far as the error itself gives it to everybody."""
    public = exc.public if isinstance(exc, ForebayError) else ""
    reason = f": {public}" if public else ""
    return f"Release {release_id} can't be opened{reason}; the retriever's log says more."
