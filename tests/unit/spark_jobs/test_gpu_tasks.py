import pytest

from forebay.settings import SparkSettings
from spark_jobs import gpu_executors
from spark_jobs.gpu_executors import embedding_tasks, gpu_profile


@pytest.mark.parametrize(
    ("master", "share", "has_gpu", "parallelism", "tasks"),
    [
        ("local[16]", 0, False, 16, 16),
        ("local[16]", 0, True, 16, 4),
        ("local[2]", 0, True, 2, 2),
        ("local[16]", 0.125, True, 16, 8),
        ("local", 1, True, 1, 1),
        ("local-cluster[4,4,4096]", 0.5, True, 16, 16),
        ("k8s://https://cluster", 0.25, True, 16, 16),
    ],
)
def test_few_tasks_share_a_local_gpu(monkeypatch, master, share, has_gpu, parallelism, tasks):
    monkeypatch.setattr(gpu_executors, "computes_on_gpu", lambda: has_gpu)
    assert embedding_tasks(SparkSettings(master=master, gpus_per_embedding_task=share), parallelism) == tasks


def test_a_local_session_asks_for_no_executors():
    assert gpu_profile(SparkSettings(master="local[4]", gpus_per_embedding_task=0.5)) is None
