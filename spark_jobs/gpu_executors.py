"""GPUs for the tasks that embed: executors of their own on a cluster, a share of the machine's in a local session."""

import os

from pyspark import TaskContext
from pyspark.resource import ExecutorResourceRequests, ResourceProfile, ResourceProfileBuilder, TaskResourceRequests

from forebay.machine import computes_on_gpu
from forebay.settings import SparkSettings

__all__ = ["embedding_tasks", "gpu_profile", "take_own_gpu"]

_GPU = "gpu"
_GPU_ENGINES = {"torch", "late"}
# Each holds the model and its batches in the GPU's memory, of which a laptop's has little.
_LOCAL_TASKS_PER_GPU = 4


def embedding_tasks(engine: str, settings: SparkSettings, parallelism: int) -> int:
    """Say among how many tasks the texts are divided: as many as run at once, fewer where they share a local GPU.

    Args:
        engine: That embeds; `torch` and `late` compute on the GPU.
        settings: Master, and the share of a GPU that a task has; a quarter in a local session that doesn't say.
        parallelism: Tasks that Spark runs at once.
    """
    if engine not in _GPU_ENGINES or not _is_local(settings) or not computes_on_gpu():
        return parallelism
    share = settings.gpus_per_embedding_task
    return min(parallelism, int(1 / share) if share else _LOCAL_TASKS_PER_GPU)


def gpu_profile(settings: SparkSettings) -> ResourceProfile | None:
    """Describe what an embedding task and its executor ask for; None where they ask for nothing.

    A local session has one executor for everything, and takes no profiles. Memory and cores are those of all executors.
    Source: Spark 4, "Stage Level Scheduling Overview".
    """
    if not settings.gpus_per_embedding_task or _is_local(settings):
        return None
    executor = ExecutorResourceRequests().resource(_GPU, 1, settings.gpu_discovery_script, "nvidia.com")
    task = TaskResourceRequests().cpus(1).resource(_GPU, settings.gpus_per_embedding_task)
    return ResourceProfileBuilder().require(executor).require(task).build  # pyright: ignore[reportReturnType]


def _is_local(settings: SparkSettings) -> bool:
    """Say whether tasks are threads of the driver, unlike those of `local-cluster[...]`."""
    return settings.master.partition("[")[0] == "local"


def take_own_gpu() -> None:
    """Let this worker see only the GPU that Spark gave its task; to be called before the GPU's library starts."""
    context = TaskContext.get()
    own = context.resources().get(_GPU) if context is not None else None
    if own is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own.addresses)
