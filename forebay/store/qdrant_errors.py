"""What Qdrant Edge raises, as an error of ours."""

from collections.abc import Generator
from contextlib import contextmanager

from forebay.errors import FilterError, ForebayError, ReleaseError

__all__ = ["as_release_error"]


@contextmanager
def as_release_error(release_id: str, done: str) -> Generator[None]:
    """Let whatever is raised inside be a `ReleaseError`, unless it is about the caller's filter.

    A damaged file makes Qdrant raise a plain `Exception`, or panic, which is a `BaseException`.

    Args:
        release_id: The release.
        done: What can't be done with it, as `searched`.

    Raises:
        FilterError: it was raised inside.
        ReleaseError: something else was.
    """
    try:
        yield
    except (FilterError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as exc:
        public = exc.public if isinstance(exc, ForebayError) else "its index is damaged"
        raise ReleaseError(f"release {release_id} can't be {done}: {exc}", public=public) from exc
