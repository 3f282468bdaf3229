import json

import pytest
from dagster_k8s.pipes import build_pod_body
from kubernetes.client import ApiClient

from forebay.errors import ConfigurationError
from forebay.settings import EmbeddingSettings, LaunchSettings, SparkSettings
from orchestration.driver_pod import driver_pod_meta, driver_pod_spec, executor_template, spark_conf
from orchestration.kubernetes_launcher import KubernetesLauncher
from orchestration.launching import SubprocessLauncher
from orchestration.resources import job_launcher

IMAGE = "registry.example:5000/forebay/pipeline:0.1.0"
SETTINGS = LaunchSettings(
    mode="kubernetes",
    image=IMAGE,
    namespace="search",
    env_from_config_maps=("environment",),
    env_from_secrets=("kafka", "s3"),
    labels={"team": "search"},
    max_executors=5,
    pod_wait_timeout_s=600,
)
EMBEDDING = EmbeddingSettings(model="/data/models/other", precision="fp32", commit_rows=7)
SPARK = SparkSettings(driver_memory="3g", conf={"spark.sql.shuffle.partitions": "64"})


@pytest.fixture
def pod():
    """The pod as PipesK8sClient sends it to the API server."""
    body = build_pod_body(
        pod_name="dagster-1",
        image=None,
        command=["python", "-m", "spark_jobs.embed_chunks.main"],
        env_vars={"DAGSTER_PIPES_CONTEXT": "c", "DAGSTER_PIPES_MESSAGES": "m"},
        base_pod_meta=driver_pod_meta(SETTINGS),
        base_pod_spec=driver_pod_spec(SETTINGS, SPARK, EMBEDDING),
    )
    return ApiClient().sanitize_for_serialization(body)


def test_the_driver_runs_the_module_in_the_image_once(pod):
    (container,) = pod["spec"]["containers"]
    assert container["image"] == IMAGE
    assert container["command"] == ["python", "-m", "spark_jobs.embed_chunks.main"]
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["activeDeadlineSeconds"] == 600
    assert pod["spec"]["serviceAccountName"] == "forebay-driver"
    assert container["resources"]["limits"] == container["resources"]["requests"] == {"cpu": "2", "memory": "6Gi"}


def test_addresses_stand_before_what_kubernetes_puts_them_into(pod):
    environment = pod["spec"]["containers"][0]["env"]
    names = [entry["name"] for entry in environment]
    assert names.index("POD_IP") < names.index("FOREBAY_SPARK_CONF")
    assert names.index("POD_NAME") < names.index("FOREBAY_SPARK_CONF")
    fields = {
        entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in environment if "valueFrom" in entry
    }
    assert fields == {"POD_IP": "status.podIP", "POD_NAME": "metadata.name"}
    assert {"DAGSTER_PIPES_CONTEXT", "DAGSTER_PIPES_MESSAGES"} <= set(names)


def test_spark_gets_its_settings_through_the_environment(pod, monkeypatch):
    for entry in pod["spec"]["containers"][0]["env"]:
        if entry["name"].startswith("FOREBAY_"):
            value = entry["value"].replace("$(POD_IP)", "10.1.2.3").replace("$(POD_NAME)", "dagster-1")
            monkeypatch.setenv(entry["name"], value)
    spark = SparkSettings()
    assert spark.master == "k8s://https://kubernetes.default.svc"
    assert spark.driver_memory == "3g"
    assert spark.conf["spark.driver.host"] == spark.conf["spark.driver.bindAddress"] == "10.1.2.3"
    assert spark.conf["spark.kubernetes.driver.pod.name"] == "dagster-1"
    assert spark.conf["spark.sql.shuffle.partitions"] == "64"


def test_the_model_that_somebody_named_goes_with_the_pod(pod):
    environment = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    assert {name: value for name, value in environment.items() if name.startswith("FOREBAY_EMBEDDING_")} == {
        "FOREBAY_EMBEDDING_MODEL": "/data/models/other",
        "FOREBAY_EMBEDDING_PRECISION": "fp32",
    }


def test_executors_are_pods_of_the_same_image_that_come_and_go():
    conf = spark_conf(SETTINGS)
    assert conf["spark.kubernetes.container.image"] == IMAGE
    assert conf["spark.kubernetes.namespace"] == "search"
    assert conf["spark.kubernetes.authenticate.executor.serviceAccountName"] == "forebay-executor"
    assert conf["spark.dynamicAllocation.enabled"] == "true"
    assert conf["spark.dynamicAllocation.shuffleTracking.enabled"] == "true"
    assert conf["spark.dynamicAllocation.maxExecutors"] == "5"
    assert conf["spark.authenticate"] == "true"
    assert all(isinstance(value, str) for value in conf.values())


def test_the_driver_mounts_the_template_where_spark_looks_for_it(pod):
    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "template"]
    (item,) = volume["downwardAPI"]["items"]
    (mount,) = [mount for mount in pod["spec"]["containers"][0]["volumeMounts"] if mount["name"] == "template"]
    place = spark_conf(SETTINGS)["spark.kubernetes.executor.podTemplateFile"]
    assert f"{mount['mountPath']}/{item['path']}" == place
    annotation = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
    assert json.loads(pod["metadata"]["annotations"][annotation]) == executor_template(SETTINGS)


def test_driver_and_executors_have_the_same_data_and_environment(pod):
    executor = executor_template(SETTINGS)["spec"]
    for spec in (pod["spec"], executor):
        (data,) = [volume for volume in spec["volumes"] if volume["name"] == "data"]
        assert data["persistentVolumeClaim"]["claimName"] == "forebay-data"
        assert {"name": "data", "mountPath": "/data"} in spec["containers"][0]["volumeMounts"]
        assert spec["containers"][0]["envFrom"] == [
            {"configMapRef": {"name": "environment"}},
            {"secretRef": {"name": "kafka"}},
            {"secretRef": {"name": "s3"}},
        ]
    assert (
        executor["containers"][0]["name"] == spark_conf(SETTINGS)["spark.kubernetes.executor.podTemplateContainerName"]
    )
    assert executor["automountServiceAccountToken"] is False


def test_nothing_runs_as_root_or_may_become_it(pod):
    for spec in (pod["spec"], executor_template(SETTINGS)["spec"]):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}


def test_labels_are_ours_and_the_settings(pod):
    labels = pod["metadata"]["labels"]
    assert labels["team"] == "search"
    assert labels["app.kubernetes.io/component"] == "spark-driver"
    executor = executor_template(SETTINGS)["metadata"]["labels"]
    assert executor["app.kubernetes.io/component"] == "spark-executor"
    assert executor["app.kubernetes.io/name"] == labels["app.kubernetes.io/name"] == "forebay"


def test_a_pod_does_not_change_the_next_one():
    spec = driver_pod_spec(SETTINGS, SPARK, EMBEDDING)
    before = json.dumps(spec)
    build_pod_body("a", None, ["x"], {"NEW": "1"}, driver_pod_meta(SETTINGS), spec)
    assert json.dumps(spec) == before


@pytest.mark.parametrize("image", ["", "forebay", "forebay:latest", "registry:5000/forebay"])
def test_an_image_that_may_change_is_refused(image):
    with pytest.raises(ConfigurationError, match="FOREBAY_LAUNCH_IMAGE"):
        job_launcher(SETTINGS.model_copy(update={"image": image}))


def test_a_digest_is_as_good_as_a_tag():
    digest = "registry:5000/forebay@sha256:" + "0" * 64
    assert spark_conf(SETTINGS.model_copy(update={"image": digest}))["spark.kubernetes.container.image"] == digest


def test_the_mode_decides_who_launches():
    assert isinstance(job_launcher(LaunchSettings()), SubprocessLauncher)
    assert isinstance(job_launcher(SETTINGS), KubernetesLauncher)
