"""The tree of every error that Forebay raises on purpose.

ForebayError
├── ConfigurationError      a setting or the machine is not as it must be
├── ModelError              a model is missing, changed or broken
├── DataError               rows that break a contract
│   ├── QualityError        a blocking check failed
│   └── EmbeddingError      a vector that must not be stored
├── IndexBuildError         a shard could not be built
├── ReleaseError            a release is missing, incomplete or refused by a gate
│   ├── SpecMismatchError   a release opened with another EmbeddingSpec than it was built with
│   └── TransferError       a release could not be pushed to, or pulled from, an object store
├── FilterError             a metadata filter that can't be translated
└── ServiceError            a Forebay service could not be reached or answered badly
"""

from collections.abc import Sequence

__all__ = [
    "ConfigurationError",
    "DataError",
    "EmbeddingError",
    "FilterError",
    "ForebayError",
    "IndexBuildError",
    "ModelError",
    "QualityError",
    "ReleaseError",
    "ServiceError",
    "SpecMismatchError",
    "TransferError",
]


class ForebayError(Exception):
    """Base of every error that Forebay raises on purpose; its message is a sentence for a person."""

    def __init__(self, message: str, *, public: str = "") -> None:
        super().__init__(message)
        self.public = public
        """What of it anybody may read, such as a caller whom nobody knows: without folders, hosts, settings, and what
        other libraries said. Empty: nothing."""


class ConfigurationError(ForebayError):
    """A setting or the machine is not as it must be."""


class ModelError(ForebayError):
    """A model is missing, changed or broken."""


class DataError(ForebayError):
    """Rows that break a contract."""


class QualityError(DataError):
    """A blocking quality check failed."""


class EmbeddingError(DataError):
    """A vector that must not be stored: not finite, not unit length, or of the wrong dimension."""

    def __init__(self, message: str, broken: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.broken = tuple(broken)
        """Positions of the texts that have no vector, among those that were to be embedded."""


class IndexBuildError(ForebayError):
    """An index shard could not be built."""


class ReleaseError(ForebayError):
    """A release is missing, incomplete, or refused by a gate."""


class SpecMismatchError(ReleaseError):
    """A release was opened with another EmbeddingSpec than the one it was built with."""


class TransferError(ReleaseError):
    """A release could not be pushed to an object store, or pulled from one."""


class FilterError(ForebayError):
    """A metadata filter that can't be translated into an index query."""


class ServiceError(ForebayError):
    """A Forebay service could not be reached, or answered badly."""
