"""The pod of a Spark driver on Kubernetes, and what it tells Spark about its executors; no cluster is asked here.

Spark runs in client mode inside the pod: executors are pods that Spark asks the API server for. They reach the driver
at its pod's address, are owned by its pod, so that they die with it, and look as `executor_template` says.
"""

import json
from typing import Any

from forebay.errors import ConfigurationError
from forebay.settings import EmbeddingSettings, LaunchSettings, SparkSettings

__all__ = ["driver_pod_meta", "driver_pod_spec", "executor_template", "spark_conf"]

USER_ID = 10001
"""User and group of the image; see `deploy/images/pipeline.Dockerfile`."""

_API_SERVER = "k8s://https://kubernetes.default.svc"
_TEMPLATE_ANNOTATION = "forebay/executor-template"
_TEMPLATE_FOLDER = "/etc/forebay"
_DRIVER_PORT, _BLOCK_PORT = 7078, 7079
_MODEL_FIELDS = {"model", "engine", "precision"}
_LABELS = {"app.kubernetes.io/name": "forebay", "app.kubernetes.io/part-of": "forebay"}


def driver_pod_spec(settings: LaunchSettings, spark: SparkSettings, embedding: EmbeddingSettings) -> dict[str, Any]:
    """Build the pod's `spec`, in Kubernetes' own words.

    What names the model goes with it, for `forebay reembed` is told another one than the ConfigMap says.

    Raises:
        ConfigurationError: no image is set, or none that always means the same.
    """
    resources = {"cpu": settings.driver_cpu, "memory": settings.driver_memory}
    container = {
        "name": "driver",
        "image": _image(settings),
        "env": _driver_environment(settings, spark, embedding),
        "envFrom": _environment(settings),
        "resources": {"requests": resources, "limits": resources},
        "securityContext": _container_security(),
        "volumeMounts": [*_mounts(settings), {"name": "template", "mountPath": _TEMPLATE_FOLDER, "readOnly": True}],
    }
    field = {"fieldPath": f"metadata.annotations['{_TEMPLATE_ANNOTATION}']"}
    template = {"name": "template", "downwardAPI": {"items": [{"path": "executor.json", "fieldRef": field}]}}
    return {
        "serviceAccountName": settings.service_account,
        "restartPolicy": "Never",
        "activeDeadlineSeconds": int(settings.pod_wait_timeout_s),
        "securityContext": _pod_security(),
        "containers": [container],
        "volumes": [*_volumes(settings), template],
    }


def driver_pod_meta(settings: LaunchSettings) -> dict[str, Any]:
    """Build the pod's `metadata`: labels, and the executors' template, which the pod mounts as a file."""
    return {
        "labels": {**settings.labels, **_LABELS, "app.kubernetes.io/component": "spark-driver"},
        "annotations": {_TEMPLATE_ANNOTATION: json.dumps(executor_template(settings))},
    }


def executor_template(settings: LaunchSettings) -> dict[str, Any]:
    """Build the pod that Spark completes for each executor."""
    container = {
        "name": "executor",
        "envFrom": _environment(settings),
        "securityContext": _container_security(),
        "volumeMounts": _mounts(settings),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": {**settings.labels, **_LABELS, "app.kubernetes.io/component": "spark-executor"}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": _pod_security(),
            "containers": [container],
            "volumes": _volumes(settings),
        },
    }


def spark_conf(settings: LaunchSettings) -> dict[str, str]:
    """Build Spark's configuration; Kubernetes fills in `$(POD_IP)` and `$(POD_NAME)`.

    Source: Spark 4, "Running Spark on Kubernetes", client mode and dynamic allocation.
    """
    return {
        "spark.driver.host": "$(POD_IP)",
        # Executors are told this one since Spark 4.1 (spark.kubernetes.executor.useDriverPodIP), so not 0.0.0.0.
        "spark.driver.bindAddress": "$(POD_IP)",
        "spark.driver.port": str(_DRIVER_PORT),
        "spark.blockManager.port": str(_BLOCK_PORT),
        "spark.authenticate": "true",
        "spark.kubernetes.namespace": settings.namespace,
        "spark.kubernetes.container.image": _image(settings),
        "spark.kubernetes.driver.pod.name": "$(POD_NAME)",
        "spark.kubernetes.authenticate.executor.serviceAccountName": settings.executor_service_account,
        "spark.kubernetes.executor.podTemplateFile": f"{_TEMPLATE_FOLDER}/executor.json",
        "spark.kubernetes.executor.podTemplateContainerName": "executor",
        "spark.executor.cores": str(settings.executor_cores),
        "spark.executor.memory": settings.executor_memory,
        "spark.executor.memoryOverhead": settings.executor_memory_overhead,
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.minExecutors": "0",
        "spark.dynamicAllocation.maxExecutors": str(settings.max_executors),
    }


def _image(settings: LaunchSettings) -> str:
    _, _, tag = settings.image.rpartition("/")[2].partition(":")
    if not tag or tag == "latest":
        raise ConfigurationError(
            f"FOREBAY_LAUNCH_IMAGE is {settings.image!r}; set it to an image with a tag other than `latest`, or with "
            "a digest, so that driver and executors are the same."
        )
    return settings.image


def _driver_environment(
    settings: LaunchSettings, spark: SparkSettings, embedding: EmbeddingSettings
) -> list[dict[str, Any]]:
    conf = json.dumps({**spark_conf(settings), **spark.conf})
    named = embedding.model_dump(include=_MODEL_FIELDS, exclude_unset=True)
    # In this order: Kubernetes expands only variables that stand before.
    return [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "FOREBAY_SPARK_MASTER", "value": _API_SERVER},
        {"name": "FOREBAY_SPARK_DRIVER_MEMORY", "value": spark.driver_memory},
        {"name": "FOREBAY_SPARK_CONF", "value": conf},
        *({"name": f"FOREBAY_EMBEDDING_{field.upper()}", "value": value} for field, value in named.items()),
    ]


def _environment(settings: LaunchSettings) -> list[dict[str, Any]]:
    return [
        *({"configMapRef": {"name": name}} for name in settings.env_from_config_maps),
        *({"secretRef": {"name": name}} for name in settings.env_from_secrets),
    ]


def _volumes(settings: LaunchSettings) -> list[dict[str, Any]]:
    return [
        {"name": "data", "persistentVolumeClaim": {"claimName": settings.data_claim}},
        {"name": "scratch", "emptyDir": {}},
    ]


def _mounts(settings: LaunchSettings) -> list[dict[str, Any]]:
    return [{"name": "data", "mountPath": settings.data_path}, {"name": "scratch", "mountPath": "/tmp"}]


def _pod_security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "fsGroup": USER_ID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
