"""What the gateway sends to the retriever and gets back."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from forebay.reranking import RerankStatus
from forebay.store import Caller, Hit, SearchMode
from forebay.store.fusion import Fusion

__all__ = ["RetrieverStatus", "SearchItem", "SearchOutcome"]


class SearchItem(BaseModel):
    """One search; several of them from different callers make a batch."""

    question: str
    """Question in words."""
    top_k: int = Field(default=10, ge=1)
    """Hits wanted."""
    mode: SearchMode = SearchMode.HYBRID
    """Legs to use."""
    filter: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Metadata filter (`forebay.store.filters`)."""
    tenant: str | None = None
    """The caller's tenant."""
    groups: list[str] = Field(default_factory=list[str])
    """The caller's groups."""
    feedback: bool = True
    """Whether a hybrid search orders what it found anew (`forebay.store.feedback`)."""
    fusion: Fusion = "rrf"
    """How a hybrid search joins what its legs found (`forebay.store.fusion`)."""
    diversity: float = Field(default=0.0, ge=0, le=1)
    """How much the hits are to differ from each other (`forebay.store.diversity`)."""
    neighbours: int = Field(default=0, ge=0, le=3)
    """Chunks before and after each hit whose texts come with it."""
    section: bool = False
    """Whether each hit comes with the chunks of its section."""
    rerank: bool = True
    """Whether a hybrid search's first hits may be ordered anew by the reranker, where there is one."""

    @property
    def caller(self) -> Caller:
        """On whose behalf is searched; nobody who asks over the network sees everything."""
        return Caller(self.tenant, frozenset(self.groups))


class SearchOutcome(BaseModel):
    """The answer to one search; an error of one item never fails the others of its batch."""

    release: str = ""
    """Release that was searched; empty where there was none."""
    language: str = "english"
    """Language of the release's stemmer and stop words; `document`: each hit's own."""
    fallback_language: str = "english"
    """With `document`, that of hits whose language isn't known."""
    hits: list[Hit] = Field(default_factory=list[Hit])
    """Best first."""
    rerank: RerankStatus = RerankStatus.OFF
    """What became of the reranking."""
    error: Literal["no_release", "unavailable", "bad_filter", "failed"] | None = None
    """What went wrong with this item."""
    message: str = ""
    """A sentence for the caller about it."""


class RetrieverStatus(BaseModel):
    """What the retriever searches."""

    ready: bool
    """A release is open and can be searched."""
    release: str | None = None
    """Its id."""
    corpus: str | None = None
    """Its corpus."""
    chunks: int = 0
    """Chunks that can be searched."""
    documents: int = 0
    """Documents they come from."""
    canary: str | None = None
    """Id of the release that answers a share of the searches on trial; none where there isn't one."""
    canary_share: float = 0.0
    """That share."""
    detail: str = ""
    """A sentence about whatever is wrong; empty if nothing is."""
