"""What every vector store offers to the pipeline (build, count) and to the retriever (open, search)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from forebay.store.access import PUBLIC, Caller
from forebay.store.fusion import Fusion

if TYPE_CHECKING:
    from forebay.releases import ReleaseManifest
    from forebay.store.explanation import Explanation

__all__ = [
    "SEARCH_VERSION",
    "ExplainableRelease",
    "Hit",
    "OpenRelease",
    "SearchMode",
    "SearchRequest",
    "SectionPart",
    "ShardBase",
    "ShardBuilder",
    "ShardRef",
    "VectorStore",
]


SEARCH_VERSION = "7"
"""Version of the way from a question to its hits; a new one means that figures of quality are measured again."""


class SearchMode(StrEnum):
    """Which legs a search uses."""

    HYBRID = "hybrid"
    DENSE = "dense"
    BM25 = "bm25"


class ShardRef(BaseModel):
    """One immutable index shard, as a release manifest names it."""

    model_config = ConfigDict(frozen=True)

    number: int
    """Shard number, the same as the Dagster partition's."""
    content: str
    """Hash of the chunks, vectors' identity and index settings that the shard was built from."""
    path: str
    """Folder of the shard, relative to the store's root; empty where it has no files."""
    chunks: int
    """Points in the shard."""
    bytes: int
    """What its files take on disk, holes left out."""
    checksum: str
    """Hash over the names and contents of its files."""
    ann_recall10: float | None = None
    """recall@10 of its vector index against exact search; None where it isn't measured, as in earlier versions."""


@dataclass(frozen=True)
class ShardBase:
    """A finished shard that a new one differs little from."""

    ref: ShardRef
    """The shard."""
    removed: list[str]
    """Ids of its chunks that the new one lacks, or holds in another version."""


@dataclass(frozen=True)
class SearchRequest:
    """One question for the index."""

    text: str
    """Question in words, for BM25."""
    vector: NDArray[np.float32]
    """(dim,) float32 unit vector, for the dense leg."""
    top_k: int = 10
    """Hits wanted."""
    mode: SearchMode = SearchMode.HYBRID
    """Legs to use."""
    where: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Metadata filter, as `forebay.store.filters` describes it."""
    caller: Caller = PUBLIC
    """On whose behalf; hits are only what this caller may find."""
    feedback: bool = True
    """Whether a hybrid search orders what it found anew, moved towards its first hits (`forebay.store.feedback`)."""
    fusion: Fusion = "rrf"
    """How a hybrid search joins what its legs found (`forebay.store.fusion`)."""
    diversity: float = 0.0
    """From 0, the best hits, to 1, hits that differ most from each other (`forebay.store.diversity`); above 0, they
    don't come in the order of their scores."""
    neighbours: int = 0
    """Chunks before and after each hit, in the same document, whose texts come with it."""
    section: bool = False
    """Whether each hit comes with the chunks of its section: those around it under the same headings and on the same
    page (`forebay.store.neighbours`)."""


@dataclass(frozen=True)
class SectionPart:
    """What one chunk adds to the text of its section."""

    chunk_id: str
    """Id of the chunk."""
    start_char: int
    """Start of `text` in the document's text."""
    end_char: int
    """End of `text` in the document's text, and of the chunk."""
    text: str
    """The part. Between two that don't touch lies white space, or a chunk that the search may not find."""
    overlap: str = ""
    """What the chunk begins with and the parts before it have already; the chunk is `overlap` and `text`."""


@dataclass(frozen=True)
class Hit:
    """A passage that a search found."""

    chunk_id: str
    """Id of the chunk."""
    doc_id: str
    """Id of its document."""
    score: float
    """Fused score (hybrid) or the leg's own; higher is nearer. Comparable within one search only."""
    similarity: float | None
    """Cosine similarity to the question; none in a search by words only. Where the index holds reduced vectors, it is
    theirs: higher, the fewer dimensions are left."""
    title: str
    """Title of the document."""
    text: str
    """The passage."""
    uri: str
    """Where in its source the document lies."""
    source: str
    """The source."""
    heading_path: str
    """Headings above the passage."""
    start_char: int
    """Start of the passage in the document's text."""
    end_char: int
    """End of the passage in the document's text."""
    text_hash: str
    """Identity of the passage's text."""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The document's filterable fields."""
    page: int = 0
    """Page or slide, from 1; 0 where the document has none."""
    language: str = "und"
    """Language of the document: an ISO 639-1 code, or `und`."""
    locations: Sequence[Mapping[str, str]] = ()
    """Other places of the same document: `source`, `uri`, `doc_id`."""
    before: Sequence[str] = ()
    """Texts of the chunks before it, where neighbours were asked for, in the order of the document."""
    after: Sequence[str] = ()
    """Texts of the chunks after it, likewise."""
    section: Sequence[SectionPart] = ()
    """Its section, itself in it, in the order of the document, where it was asked for."""
    rerank_score: float | None = None
    """The reranker's score (`forebay.reranking`); none where it didn't read the hit. Hits that have one come first, in
    its order, whatever their `score`."""


class OpenRelease(Protocol):
    """A release that is ready to be searched; safe for concurrent searches."""

    @property
    def manifest(self) -> "ReleaseManifest":
        """What was opened."""
        ...

    def search(self, requests: Sequence[SearchRequest]) -> list[list[Hit]]:
        """Answer several requests, each with its best hits, best first.

        What is searched is what `forebay.store.access.effective_filter` leaves of the index.

        Raises:
            FilterError: a filter names an unknown field or has a value of the wrong type.
            ReleaseError: a vector has another dimension than the release.
        """
        ...

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """Count the chunks that match a filter, whoever may find them.

        Raises:
            FilterError: as `search`.
        """
        ...

    def close(self) -> None:
        """Give back memory and files; searches under way must have ended."""
        ...


class ExplainableRelease(OpenRelease, Protocol):
    """A release that is open in this process, whose searches can be told of."""

    def explain(self, request: SearchRequest) -> "Explanation":
        """Answer one request by the steps of `search`, and tell what each of them found.

        Raises:
            FilterError: as `search`.
            ReleaseError: likewise.
        """
        ...


class ShardBuilder(Protocol):
    """Builds the shards of an index, one in each Spark task."""

    def build_shard(
        self, number: int, content: str, batches: Iterable[pa.RecordBatch], base: ShardBase | None = None
    ) -> ShardRef:
        """Build a shard from chunk rows with a `vector` column, and make it visible only when it is complete.

        With a `base`, the rows are only those that the base lacks or holds in another version.

        Raises:
            IndexBuildError: the rows can't be indexed, or the finished shard doesn't hold all of them.
        """
        ...


class VectorStore(ShardBuilder, Protocol):
    """Builds immutable shards and opens releases of them."""

    def shard_folder(self, number: int, content: str) -> str:
        """Name the place of a shard: the same number and content always give the same place."""
        ...

    def find_shard(self, number: int, content: str) -> ShardRef | None:
        """Look for a finished shard with this number and content."""
        ...

    def open(self, manifest: "ReleaseManifest") -> ExplainableRelease:
        """Open a release for searching.

        Raises:
            ReleaseError: a shard is missing or damaged.
        """
        ...
