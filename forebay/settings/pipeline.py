"""How the jobs run, and what becomes of their releases."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from forebay.settings.names import Names

__all__ = ["LaunchSettings", "MaintenanceSettings", "ReleaseSettings", "SparkSettings"]


class SparkSettings(BaseSettings):
    """The Spark session of a job."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_SPARK_", extra="ignore")

    master: str = "local[*]"
    """Spark master URL."""
    driver_memory: str = "1g"
    """JVM heap of the driver; with a local master it is also the executor's, and sorts take 32 MiB a core besides."""
    gpus_per_embedding_task: float = Field(default=0.0, ge=0, le=1)
    """Share of a GPU that a task which embeds asks for, such as 0.25; 0: none. A cluster needs dynamic allocation:
    these tasks get executors with one GPU, all others executors without. In a local session it says how many tasks
    share the machine's GPU, and 0 means 0.25."""
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
    """Memory of an executor outside the JVM: one Python worker a task, each with its copy of the model, or the shard
    that it builds (`docs/sizing.md`)."""
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
    pod_wait_timeout_s: float = Field(default=48 * 3600, gt=0)
    """Longest time that one job may take; its pod is removed then. Embeddings alone take nearly a day where the whole
    build does (`docs/sizing.md`)."""


class ReleaseSettings(BaseSettings):
    """When a candidate may become the current release."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_RELEASE_", extra="ignore")

    margin: float = Field(default=0.01, ge=0)
    """Largest drop of nDCG@10 or recall@100 against the current release that is still promoted."""
    min_ann_recall: float = Field(default=0.9, ge=0, le=1)
    """Least recall@10 of each shard's vector index against exact search of the same shard."""
    canary_share: float = Field(default=0.0, ge=0, le=0.5)
    """Share of the searches that a release answers as a canary before it is promoted; 0: it is promoted at once."""
    canary_min_searches: int = Field(default=500, ge=100)
    """Different questions that must have been asked of the canary and the current release before it is promoted."""
    canary_max_slowdown: float = Field(default=1.5, ge=1)
    """Largest ratio of the canary's latency (p95) to the current release's."""
    canary_hours: float = Field(default=24, gt=0)
    """Time after which a canary that too few searches came to is called overdue: it stays one, and a newer release that
    passes its gate takes its place instead of waiting."""


class MaintenanceSettings(BaseSettings):
    """What the weekly maintenance keeps."""

    model_config = SettingsConfigDict(env_prefix="FOREBAY_MAINTENANCE_", extra="ignore")

    retention_days: float = Field(default=7, ge=0)
    """Age from which on old table versions, releases and shards go; what is live or one rollback away always stays."""
    rows_per_fragment: int = Field(default=1_000_000, ge=1)
    """Rows that small files of a table are joined to."""
