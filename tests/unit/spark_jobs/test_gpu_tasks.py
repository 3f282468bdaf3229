import pytest

from forebay.settings import SparkSettings
from spark_jobs import gpu_executors
from spark_jobs.gpu_executors import embedding_tasks, gpu_profile


@pytest.mark.parametrize(
    ("engine", "master", "share", "has_gpu", "parallelism", "tasks"),
    [
        ("torch", "local[16]", 0, False, 16, 16),
        ("torch", "local[16]", 0, True, 16, 4),
        ("late", "local[16]", 0, True, 16, 4),
        ("static", "local[16]", 0, True, 16, 16),
        ("torch", "local[2]", 0, True, 2, 2),
        ("torch", "local[16]", 0.6, True, 16, 1),
        ("torch", "local[16]", 0.125, True, 16, 8),
        ("torch", "local", 1, True, 1, 1),
        ("torch", "local-cluster[4,4,4096]", 0.5, True, 16, 16),
        ("torch", "k8s://https://cluster", 0.25, True, 16, 16),
    ],
)
def test_few_tasks_share_a_local_gpu(monkeypatch, engine, master, share, has_gpu, parallelism, tasks):
    monkeypatch.setattr(gpu_executors, "computes_on_gpu", lambda: has_gpu)
    settings = SparkSettings(master=master, gpus_per_embedding_task=share)
    assert embedding_tasks(engine, settings, parallelism) == tasks


def test_a_local_session_asks_for_no_executors():
    assert gpu_profile(SparkSettings(master="local[4]", gpus_per_embedding_task=0.5)) is None
