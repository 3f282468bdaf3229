"""Settings as a command sees them: a value that doesn't fit is one sentence, not a trace."""

from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from forebay.errors import ConfigurationError

__all__ = ["load_settings"]

AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load_settings(kind: type[AnySettings]) -> AnySettings:
    """Build a settings class from the environment.

    Raises:
        ConfigurationError: a variable's value doesn't fit.
    """
    try:
        return kind()
    except ValidationError as exc:
        prefix = kind.model_config.get("env_prefix", "")
        problems = [
            f"{prefix}{'_'.join(map(str, error['loc']))}".upper() + f"={error['input']!r}: {error['msg']}"
            for error in exc.errors()
        ]
        raise ConfigurationError(f"a setting in the environment doesn't fit: {'; '.join(problems)}.") from exc
