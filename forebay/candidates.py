"""The candidate: which shards the next release would have, as the index job left them."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from forebay.documents import partition_key
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import ReleaseError
from forebay.settings import WrittenIndexSettings
from forebay.store.contract import ShardRef

__all__ = ["Candidate"]

_FILE = "candidate.json"
_SHOWN = 10


class Candidate(BaseModel):
    """Shards that were built from published tables, not yet evaluated."""

    embedding: EmbeddingSpec
    """Model of the vectors."""
    index: WrittenIndexSettings
    """Settings of the shards."""
    layout: str = ""
    """Version of what a shard's folder holds; earlier versions of Forebay didn't say."""
    reduction: str = ""
    """Fingerprint of the map that the vectors were reduced with; empty where they are whole."""
    release: str = ""
    """Release whose collection in a cluster the shards lie in, though it may still lack some; empty where they lie in
    files, and in candidates of earlier versions of Forebay."""
    shards: dict[int, ShardRef]
    """By number; a shard without chunks is left out."""
    table_versions: dict[str, int]
    """Version of each table that the shards were built from: a shard holds what its rows of the chunk table said."""

    def is_built_like(self, other: "Candidate") -> bool:
        """Say whether equal chunks give equal shards in both."""
        same = {"embedding", "index", "layout", "reduction"}
        return self.model_dump(include=same) == other.model_dump(include=same)

    @classmethod
    def load(cls, shards: Path) -> "Candidate | None":
        """Read the candidate; None where there is none, or none that can be read."""
        try:
            return cls.model_validate_json((shards / _FILE).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def require_whole(self, chunks: Mapping[str, int]) -> None:
        """See to it that the shards hold what the chunk table does.

        Args:
            chunks: Rows of the chunk table that the candidate was made from, by partition.

        Raises:
            ReleaseError: chunks are missing, or are there that the table doesn't have.
        """
        held = {partition_key(number): ref.chunks for number, ref in self.shards.items()}
        wrong = sorted(key for key in {*held, *chunks} if held.get(key, 0) != chunks.get(key, 0))
        if wrong:
            raise ReleaseError(
                f"the candidate is not whole: of its shards {', '.join(wrong[:_SHOWN])} hold other chunks than "
                f"the table, or none ({len(wrong)} in all), as after a backfill of other partitions alone; run "
                "`ingest_job` or backfill these, too; shards that are built already are kept."
            )

    def save(self, shards: Path) -> None:
        """Replace the candidate at once."""
        shards.mkdir(parents=True, exist_ok=True)
        staging = shards / f".{_FILE}.{os.getpid()}"
        staging.write_text(self.model_dump_json(indent=2), "utf-8")
        os.replace(staging, shards / _FILE)
