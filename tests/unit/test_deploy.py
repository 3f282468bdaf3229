import inspect
import re
import shutil
import subprocess
from pathlib import Path

import dagster as dg
import pydantic_settings
import pytest
import yaml

from forebay import dagster_home, settings
from forebay.settings import LaunchSettings
from orchestration.driver_pod import USER_ID, spark_conf

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
DOCKERFILE = (ROOT / "deploy" / "images" / "pipeline.Dockerfile").read_text()
ENTRYPOINT = ROOT / "deploy" / "images" / "entrypoint.sh"


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


KUSTOMIZATION = documents(KUBERNETES / "kustomization.yaml")[0]
MANIFESTS = [document for name in KUSTOMIZATION["resources"] for document in documents(KUBERNETES / name)]


def of_kind(kind):
    return {manifest["metadata"]["name"]: manifest for manifest in MANIFESTS if manifest["kind"] == kind}


def allowed(role):
    """What a role allows, as (verb, resource)."""
    rules = of_kind("Role")[role]["rules"]
    return {(verb, resource) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


def settings_of_the_environment():
    (made,) = [entry for entry in KUSTOMIZATION["configMapGenerator"] if entry["name"] == "forebay-environment"]
    return dict(literal.split("=", 1) for literal in made["literals"])


POD = of_kind("Deployment")["forebay-dagster"]["spec"]["template"]["spec"]


def test_every_manifest_is_one_and_is_listed():
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(KUSTOMIZATION["resources"])
    for manifest in MANIFESTS:
        assert {"apiVersion", "kind", "metadata"} <= manifest.keys()
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in MANIFESTS]
    assert len(names) == len(set(names))


def test_dagster_may_do_what_its_client_does():
    # The calls of dagster_k8s.PipesK8sClient, and of DagsterKubernetesClient.wait_for_pod behind it.
    assert {
        ("create", "pods"),
        ("list", "pods"),
        ("get", "pods"),
        ("delete", "pods"),
        ("get", "pods/log"),
        ("list", "events"),
    } <= allowed("forebay-dagster")


def test_the_client_does_not_do_more_than_that():
    from dagster_k8s import client, pipes

    source = inspect.getsource(pipes) + inspect.getsource(client.DagsterKubernetesClient.wait_for_pod)
    source += inspect.getsource(client.DagsterKubernetesClient.get_pod_debug_info)
    calls = set(re.findall(r"core_api\.(\w+)", source))
    assert calls == {
        "create_namespaced_pod",
        "delete_namespaced_pod",
        "list_namespaced_pod",
        "read_namespaced_pod_log",
    }


def test_sparks_driver_may_do_what_spark_does():
    # The requests of Spark 4.3 in client mode to an API server that wrote them down; executors that are no longer
    # needed are removed one by one, and those that are being retired are labelled.
    assert {
        ("get", "pods"),
        ("list", "pods"),
        ("watch", "pods"),
        ("create", "pods"),
        ("patch", "pods"),
        ("delete", "pods"),
        ("deletecollection", "pods"),
        ("create", "configmaps"),
        ("deletecollection", "configmaps"),
        ("deletecollection", "services"),
        ("list", "persistentvolumeclaims"),
        ("deletecollection", "persistentvolumeclaims"),
    } <= allowed("forebay-driver")


def test_no_role_reaches_further():
    assert not of_kind("ClusterRole")
    assert not of_kind("ClusterRoleBinding")
    for role in of_kind("Role"):
        assert not {resource for _, resource in allowed(role)} & {"secrets", "*", "roles", "rolebindings", "pods/exec"}
        assert "*" not in {verb for verb, _ in allowed(role)}


def test_accounts_and_claims_are_the_settings_own():
    launch = LaunchSettings()
    accounts = of_kind("ServiceAccount")
    assert accounts.keys() == {"forebay-dagster", launch.service_account, launch.executor_service_account}
    assert accounts[launch.executor_service_account]["automountServiceAccountToken"] is False
    bound = {binding["subjects"][0]["name"]: binding["roleRef"]["name"] for binding in of_kind("RoleBinding").values()}
    assert bound == {"forebay-dagster": "forebay-dagster", launch.service_account: "forebay-driver"}
    claim = of_kind("PersistentVolumeClaim")[launch.data_claim]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert of_kind("Namespace").keys() == {launch.namespace} == {KUSTOMIZATION["namespace"]}
    assert launch.env_from_config_maps == ("forebay-environment",)


def test_every_variable_is_a_setting():
    known = {
        f"{model.model_config['env_prefix']}{name}".upper()
        for model in vars(settings).values()
        if inspect.isclass(model) and issubclass(model, pydantic_settings.BaseSettings)
        for name in model.model_fields
    }
    environment = settings_of_the_environment()
    named = {entry["name"] for container in POD["containers"] for entry in container["env"]} - {"DAGSTER_HOME"}
    assert set(environment) | named <= known
    assert environment["FOREBAY_DATA"].startswith(LaunchSettings().data_path)
    assert environment["FOREBAY_HOME"].startswith(LaunchSettings().data_path)
    assert environment["FOREBAY_LAUNCH_MODE"] == "kubernetes"


def test_images_have_a_tag_that_stays():
    images = {entry["name"]: entry["newTag"] for entry in KUSTOMIZATION["images"]}
    assert {container["image"] for container in POD["containers"]} == images.keys()
    assert all(tag and tag != "latest" for tag in images.values())
    sources = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(":" in source and ":latest" not in source for source in sources)


def test_nothing_is_offered_to_the_world():
    assert not of_kind("Ingress")
    assert {service["spec"]["type"] for service in of_kind("Service").values()} == {"ClusterIP"}
    assert not any("hostPort" in port for container in POD["containers"] for port in container.get("ports", []))
    assert "hostNetwork" not in POD
    everyone = of_kind("NetworkPolicy")["forebay-nobody-in"]["spec"]
    assert everyone == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_executors_and_drivers_reach_each_other():
    conf = spark_conf(LaunchSettings(image="forebay:1"))
    wanted = {int(conf["spark.driver.port"]), int(conf["spark.blockManager.port"])}
    for policy, direction in (("forebay-spark", "ingress"), ("forebay-out", "egress")):
        rules = of_kind("NetworkPolicy")[policy]["spec"][direction]
        assert wanted <= {port["port"] for rule in rules for port in rule["ports"]}


def test_nothing_runs_as_root():
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["runAsUser"] == USER_ID
    for container in POD["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
    labels = of_kind("Namespace")["forebay"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert re.search(rf"^USER {USER_ID}:{USER_ID}$", DOCKERFILE, re.MULTILINE)


def test_dagster_is_configured_as_on_a_laptop(tmp_path):
    text = (KUBERNETES / "dagster" / "dagster.yaml").read_text()
    assert yaml.safe_load(text) == yaml.safe_load(dagster_home._INSTANCE)
    (tmp_path / "dagster.yaml").write_text(text)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_retries_enabled
    (code,) = [container for container in POD["containers"] if container["name"] == "code"]
    (location,) = documents(KUBERNETES / "dagster" / "workspace.yaml")[0]["load_from"]
    assert str(location["grpc_server"]["port"]) in code["args"]


@pytest.fixture
def image(tmp_path):
    """A folder of programs that say how they were called, in the place of the image's."""
    for name in ("java", "tini"):
        program = tmp_path / name
        program.write_text(
            '#!/bin/bash\nshift 2\nexec "$@"\n' if name == "tini" else '#!/bin/bash\nprintf "%s\\n" "$@"\n'
        )
        program.chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin", "SPARK_HOME": "/spark"}


def test_the_image_runs_commands_as_they_are(image):
    done = subprocess.run([ENTRYPOINT, "echo", "a  b", "c"], env=image, capture_output=True, text=True, check=True)
    assert done.stdout == "a  b c\n"


def test_the_image_runs_executors_as_spark_asks(image):
    environment = {
        "SPARK_JAVA_OPT_0": "-Da=1 2",
        "SPARK_JAVA_OPT_1": "-Db=$(x)",
        "SPARK_EXECUTOR_MEMORY": "512m",
        "SPARK_CONF_DIR": "/opt/spark/conf",
        "SPARK_DRIVER_URL": "spark://driver:7078",
        "SPARK_EXECUTOR_ID": "3",
        "SPARK_EXECUTOR_CORES": "4",
        "SPARK_APPLICATION_ID": "spark-1",
        "SPARK_EXECUTOR_POD_IP": "10.0.0.9",
        "SPARK_RESOURCE_PROFILE_ID": "0",
        "SPARK_EXECUTOR_POD_NAME": "executor-3",
    }
    done = subprocess.run(
        [ENTRYPOINT, "executor"], env={**image, **environment}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "-Da=1 2",
        "-Db=$(x)",
        "-Xms512m",
        "-Xmx512m",
        "-cp",
        "/opt/spark/conf:/spark/jars/*",
        "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend",
        *("--driver-url", "spark://driver:7078"),
        *("--executor-id", "3"),
        *("--cores", "4"),
        *("--app-id", "spark-1"),
        *("--hostname", "10.0.0.9"),
        *("--resourceProfileId", "0"),
        *("--podName", "executor-3"),
    ]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_puts_one_image_everywhere():
    done = subprocess.run(["kubectl", "kustomize", KUBERNETES], capture_output=True, text=True, check=True)
    rendered = [document for document in yaml.safe_load_all(done.stdout) if document]
    (environment,) = [document for document in rendered if document["metadata"]["name"] == "forebay-environment"]
    (deployment,) = [document for document in rendered if document["kind"] == "Deployment"]
    images = {container["image"] for container in deployment["spec"]["template"]["spec"]["containers"]}
    assert images == {environment["data"]["FOREBAY_LAUNCH_IMAGE"]}
    assert all(not image.endswith(":latest") and ":" in image for image in images)
