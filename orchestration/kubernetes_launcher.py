"""Starting a Spark job as a driver pod; imported only where jobs run on Kubernetes."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster_k8s import PipesK8sClient
from dagster_k8s.pipes import PipesK8sPodLogsMessageReader

from forebay.data_lock import locked_command
from forebay.settings import EmbeddingSettings, LaunchSettings, SparkSettings
from orchestration.driver_pod import driver_pod_meta, driver_pod_spec
from orchestration.launching import JobReports, job_failures

__all__ = ["KubernetesLauncher"]


class _PodLogReader(PipesK8sPodLogsMessageReader):
    """Reads a pod's messages out of its log and keeps its reports."""

    def __init__(self) -> None:
        self.reports = JobReports()

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Generator[Any]:
        try:
            with super().read_messages(handler) as params:
                yield params
        finally:
            self.reports.take(handler)


class KubernetesLauncher:
    """Starts the jobs as pods, with the settings that Dagster itself was started with."""

    def __init__(self, settings: LaunchSettings, spark: SparkSettings, embedding: EmbeddingSettings) -> None:
        self._settings = settings
        self._spec = driver_pod_spec(settings, spark, embedding)
        self._meta = driver_pod_meta(settings)

    def run(
        self, context: dg.AssetExecutionContext, module: str, orders: Mapping[str, Any]
    ) -> dg.MaterializeResult[Any]:
        """Run the module in a pod of its own, which is removed afterwards; see `JobLauncher.run`."""
        reader = _PodLogReader()
        client = PipesK8sClient(message_reader=reader)
        with job_failures(reader.reports):
            done = client.run(
                context=context,
                extras=dict(orders),
                command=locked_command(module, "python"),
                namespace=self._settings.namespace,
                base_pod_meta=self._meta,
                base_pod_spec=self._spec,
                pod_wait_timeout=self._settings.pod_wait_timeout_s,
            )
            return done.get_materialize_result()

    def close(self) -> None:
        """Nothing is kept: each job's pod is gone with it."""
