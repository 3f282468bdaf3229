"""The identity of an embedding: everything that must be equal for two vectors to be comparable."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from forebay.documents import content_hash
from forebay.errors import SpecMismatchError

__all__ = ["EmbeddingSpec"]


class EmbeddingSpec(BaseModel):
    """What a vector was made with; stored in every release and compared when one is opened."""

    model_config = ConfigDict(frozen=True)

    model: str
    """As in `EmbeddingSettings.model`."""
    revision: str
    """Hash of the model's files."""
    dim: int
    """Length of a vector."""
    max_tokens: int
    """Longest input of the model, special tokens included; longer text is cut."""
    precision: Literal["fp32", "fp16", "bf16", "int8"]
    """Arithmetic of the forward pass; the vectors themselves are always float32."""
    engine: str = "torch"
    """Implementation of the forward pass."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def is_late(self) -> bool:
        """Whether chunks are embedded with late chunking: among their neighbours, not alone."""
        return self.engine == "late"

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that name this spec in tables and folders."""
        return content_hash(self.model_dump_json())[:12]

    def require(self, other: "EmbeddingSpec") -> None:
        """Refuse to mix vectors of two specs.

        Raises:
            SpecMismatchError: `other` differs; the message lists every differing field with both values.
        """
        mine, theirs = self.model_dump(), other.model_dump()
        differing = [f"{key}: {mine[key]!r} and {theirs[key]!r}" for key in mine if mine[key] != theirs[key]]
        if differing:
            raise SpecMismatchError(
                f"vectors made with different embedding specs can't be compared ({'; '.join(differing)}). "
                "Use the model that the release was built with, or build a new release.",
                public="its embedding model is another one than it was built with",
            )
