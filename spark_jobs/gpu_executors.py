"""Executors with a GPU for the tasks that embed; all other tasks run on executors without."""

import os

from pyspark import TaskContext
from pyspark.resource import ExecutorResourceRequests, ResourceProfile, ResourceProfileBuilder, TaskResourceRequests

from forebay.settings import SparkSettings

__all__ = ["gpu_profile", "take_own_gpu"]

_GPU = "gpu"


def gpu_profile(settings: SparkSettings) -> ResourceProfile | None:
    """Describe what an embedding task and its executor ask for; None where they ask for nothing.

    Memory and cores are those of all executors. Source: Spark 4, "Stage Level Scheduling Overview".
    """
    if not settings.gpus_per_embedding_task:
        return None
    executor = ExecutorResourceRequests().resource(_GPU, 1, settings.gpu_discovery_script, "nvidia.com")
    task = TaskResourceRequests().cpus(1).resource(_GPU, settings.gpus_per_embedding_task)
    return ResourceProfileBuilder().require(executor).require(task).build  # pyright: ignore[reportReturnType]


def take_own_gpu() -> None:
    """Let this worker see only the GPU that Spark gave its task; to be called before the GPU's library starts."""
    context = TaskContext.get()
    own = context.resources().get(_GPU) if context is not None else None
    if own is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(own.addresses)
