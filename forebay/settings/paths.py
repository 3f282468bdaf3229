"""Where things lie on disk."""

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["PathSettings"]


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "forebay"


class PathSettings(BaseSettings):
    """Where things lie on disk."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_", extra="ignore")

    home: Path = Field(default_factory=_cache_home)
    """Cache of models and other things that can be made again; shared by all data folders."""
    data: Path = Path(".forebay")
    """Tables, shards, releases, reports and Dagster's storage of one corpus."""

    @property
    def tables(self) -> Path:
        """Folder of the Lance tables."""
        return self.data.absolute() / "tables"

    @property
    def shards(self) -> Path:
        """Folder of the immutable index shards."""
        return self.data.absolute() / "shards"

    @property
    def releases(self) -> Path:
        """Folder of the release manifests and the `current` pointer."""
        return self.data.absolute() / "releases"

    @property
    def quality(self) -> Path:
        """Folder of the quality reports (Data Docs)."""
        return self.data.absolute() / "quality"

    @property
    def dagster(self) -> Path:
        """Dagster's own folder (DAGSTER_HOME)."""
        return self.data.absolute() / "dagster"

    @property
    def models(self) -> Path:
        """Cache of model folders."""
        return self.home.absolute() / "models"
