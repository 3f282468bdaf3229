"""The candidate: which shards the next release would have, as the index job left them."""

import os
from pathlib import Path

from pydantic import BaseModel, ValidationError

from forebay.embedding.spec import EmbeddingSpec
from forebay.settings import IndexSettings
from forebay.store.contract import ShardRef

__all__ = ["Candidate"]

_FILE = "candidate.json"


class Candidate(BaseModel):
    """Shards that were built from published tables, not yet evaluated."""

    embedding: EmbeddingSpec
    """Model of the vectors."""
    index: IndexSettings
    """Settings of the shards."""
    shards: dict[int, ShardRef]
    """By number; a shard without chunks is left out."""
    table_versions: dict[str, int]
    """Version of each table that the shards were built from."""

    @classmethod
    def load(cls, shards: Path) -> "Candidate | None":
        """Read the candidate; None where there is none, or none that can be read."""
        try:
            return cls.model_validate_json((shards / _FILE).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def save(self, shards: Path) -> None:
        """Replace the candidate at once."""
        shards.mkdir(parents=True, exist_ok=True)
        staging = shards / f".{_FILE}.{os.getpid()}"
        staging.write_text(self.model_dump_json(indent=2), "utf-8")
        os.replace(staging, shards / _FILE)
