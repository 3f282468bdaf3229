import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from forebay.canary.settling import introduce
from forebay.canary.trials import CanaryRegistry
from forebay.doctor import (
    Status,
    check_canary,
    check_cores,
    check_disk,
    check_gpu,
    check_java,
    check_memory,
    check_port,
    check_processor,
    check_quantized_model,
    check_release,
    check_reranker,
)
from forebay.java import Java
from forebay.releases import ReleaseRegistry
from forebay.settings import EmbeddingSettings, PathSettings, ReleaseSettings
from tests.cross_encoder import write_cross_encoder
from tests.releases import sealed_release

GIB = 2**30


@pytest.mark.parametrize(
    ("java", "status"),
    [
        (None, Status.FAIL),
        (Java(Path("/usr/bin/java"), 11), Status.FAIL),
        (Java(Path("/usr/bin/java"), 17), Status.OK),
        (Java(Path("/usr/bin/java"), 21), Status.OK),
    ],
)
def test_java(java: Java | None, status: Status) -> None:
    result = check_java(java)
    assert result.status is status
    assert ("apt-get install" in result.advice) == (status is Status.FAIL)


def test_one_core_is_a_warning() -> None:
    assert [check_cores(n).status for n in (1, 2, 64)] == [Status.WARN, Status.OK, Status.OK]


def test_memory() -> None:
    assert [check_memory(n * GIB).status for n in (4, 8, 24)] == [Status.FAIL, Status.WARN, Status.OK]


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        ({"avx512f", "avx512_bf16"}, Status.OK, "AWQ checkpoint"),
        ({"avx512f"}, Status.WARN, "AVX-512, no bf16"),
        ({"avx2"}, Status.WARN, "no AVX-512"),
        (set(), Status.WARN, "unknown"),
    ],
)
def test_processor(flags: set[str], status: Status, said: str) -> None:
    result = check_processor(frozenset(flags))
    assert result.status is status
    assert said in result.finding


def test_a_gpu_that_the_installed_torch_cannot_use_is_said_with_what_to_do() -> None:
    assert check_gpu(is_there=False, is_used=False) == []
    assert [result.status for result in check_gpu(is_there=True, is_used=True)] == [Status.OK]
    (unused,) = check_gpu(is_there=True, is_used=False)
    assert unused.status is Status.WARN
    assert "VARIANT=gpu" in unused.advice


def test_disk() -> None:
    statuses = [check_disk("disk", Path("/data"), n * GIB).status for n in (1, 4, 100)]
    assert statuses == [Status.FAIL, Status.WARN, Status.OK]


def test_a_taken_port_names_the_setting_that_changes_it() -> None:
    assert check_port("gateway", 3040, "FOREBAY_SERVING_PORT", is_free=True).status is Status.OK
    taken = check_port("gateway", 3040, "FOREBAY_SERVING_PORT", is_free=False)
    assert taken.status is Status.WARN
    assert "FOREBAY_SERVING_PORT" in taken.advice


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (None, Status.WARN),
        (json.dumps({"passed": True, "reason": "fine"}), Status.OK),
        (json.dumps({"passed": False, "reason": "perplexity"}), Status.WARN),
        ("{", Status.FAIL),
        ("[]", Status.FAIL),
    ],
)
def test_quantized_model(tmp_path: Path, content: str | None, status: Status) -> None:
    (tmp_path / "awq").mkdir()
    check = tmp_path / "awq-check.json"
    if content is not None:
        check.write_text(content)
    assert check_quantized_model(check, tmp_path / "awq").status is status


def test_no_release_yet_is_a_warning(tmp_path: Path) -> None:
    assert check_release(PathSettings(data=tmp_path)).status is Status.WARN


def test_a_pointer_to_a_release_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    paths = PathSettings(data=tmp_path)
    paths.releases.mkdir()
    (paths.releases / "current").write_text("0123456789abcdef")
    result = check_release(paths)
    assert result.status is Status.FAIL
    assert "0123456789abcdef" in result.finding


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("/nowhere/at/all", "there is no folder"),
        ("package:unheard-of", "unheard-of"),
        (EmbeddingSettings().model, "is no cross-encoder"),
    ],
)
def test_a_reranker_that_can_not_be_used_is_a_warning(tmp_path: Path, model: str, said: str) -> None:
    result = check_reranker(model, PathSettings(data=tmp_path))
    assert result.status is Status.WARN
    assert said in result.finding
    assert "keep their own order" in result.advice


def test_a_reranker_that_is_there_or_not_wanted_is_fine(tmp_path: Path) -> None:
    paths = PathSettings(data=tmp_path)
    assert check_reranker("", paths).finding == "none set"
    folder = str(write_cross_encoder(tmp_path / "model"))
    assert [check_reranker(model, paths).status for model in ("", folder)] == [Status.OK, Status.OK]


def test_canary(tmp_path: Path) -> None:
    paths = PathSettings(data=tmp_path)
    assert check_canary(paths) is None
    settings = ReleaseSettings(canary_share=0.1)
    for content in ("c1", "c2"):
        manifest = sealed_release(paths.shards, content)
        introduce(ReleaseRegistry(paths.releases).save(manifest).release_id, paths, settings)
    result = check_canary(paths)
    assert result is not None
    assert result.status is Status.OK
    assert result.finding == f"{manifest.release_id}: 10% of the searches, 0 of 500 compared"
    canaries = CanaryRegistry(paths.releases)
    canary = canaries.current()
    assert canary is not None
    canaries.write(canary.model_copy(update={"began_at": canary.began_at - timedelta(hours=25)}))
    late = check_canary(paths)
    assert late is not None
    assert (late.status, late.finding.endswith("overdue")) == (Status.WARN, True)
    shutil.rmtree(paths.shards / manifest.shards[0].path)
    gone = check_canary(paths)
    assert gone is not None
    assert (gone.status, "rollback" in gone.advice) == (Status.FAIL, True)
    (paths.releases / "canary").write_text("{")
    damaged = check_canary(paths)
    assert damaged is not None
    assert (damaged.status, "damaged" in damaged.finding) == (Status.FAIL, True)
