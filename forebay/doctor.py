"""What `forebay doctor` checks: facts about this machine and this folder, judged one by one."""

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from forebay.canary.trials import CanaryRegistry
from forebay.embedding.choice import settings_of_corpus
from forebay.errors import ConfigurationError, ModelError, ReleaseError
from forebay.generation_models import checkpoint_folders, ensure_base_checkpoint
from forebay.java import HOW_TO_GET_JAVA, MINIMUM_JAVA, Java, find_java
from forebay.machine import computes_on_gpu, cpu_flags, has_nvidia_gpu
from forebay.models import model_folder
from forebay.releases import ReleaseManifest, ReleaseRegistry
from forebay.reranking.cross_encoder import check_cross_encoder
from forebay.settings import EmbeddingSettings, GeneratorSettings, PathSettings, ServingSettings
from forebay.store.shard_files import verify

__all__ = [
    "Result",
    "Status",
    "check_canary",
    "check_cores",
    "check_disk",
    "check_gpu",
    "check_java",
    "check_memory",
    "check_port",
    "check_processor",
    "check_quantized_model",
    "check_release",
    "check_reranker",
    "diagnose",
]

_GIB = 2**30
DAGSTER_PORT = 3000


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Result:
    """What one check found."""

    name: str
    """What was checked."""
    status: Status
    """`fail` where Forebay can't work like this, `warn` where it works but worse."""
    finding: str
    """What is the case."""
    advice: str = ""
    """What to do about it; empty where nothing needs doing."""


def diagnose() -> list[Result]:
    """Run every check; none changes anything."""
    paths, serving = PathSettings(), ServingSettings()
    results = [
        check_java(find_java()),
        check_cores(_usable_cores()),
        check_memory(_usable_memory_bytes()),
        check_processor(cpu_flags()),
        *check_gpu(is_there=has_nvidia_gpu(), is_used=computes_on_gpu()),
        check_disk("disk of the data folder", paths.data.absolute(), _free_bytes(paths.data.absolute())),
        check_disk("disk of the model cache", paths.models, _free_bytes(paths.models)),
        check_port("gateway", serving.port, "FOREBAY_SERVING_PORT", is_free=_is_free(serving.host, serving.port)),
        check_port("Dagster", DAGSTER_PORT, "forebay dagster --port", is_free=_is_free("127.0.0.1", DAGSTER_PORT)),
    ]
    results.extend(_check_models(paths, settings_of_corpus(EmbeddingSettings(), paths), GeneratorSettings()))
    results += [check_reranker(serving.reranker, paths), check_release(paths)]
    if (canary := check_canary(paths)) is not None:
        results.append(canary)
    return results


def check_java(java: Java | None) -> Result:
    """Judge the Java that Spark would run with."""
    if java is None:
        return Result("Java", Status.FAIL, "none found", f"Spark needs Java {MINIMUM_JAVA}. {HOW_TO_GET_JAVA}")
    finding = f"{java.major} ({java.path})"
    if java.major < MINIMUM_JAVA:
        return Result("Java", Status.FAIL, finding, f"Spark needs Java {MINIMUM_JAVA} or newer. {HOW_TO_GET_JAVA}")
    return Result("Java", Status.OK, finding)


def check_cores(cores: int) -> Result:
    """Judge the processor cores that this process may use."""
    if cores < 2:
        return Result("cores", Status.WARN, str(cores), "It works, slowly: generation and search share one core.")
    return Result("cores", Status.OK, str(cores))


def check_memory(total_bytes: int) -> Result:
    """Judge the memory this process may use; vLLM's three processes take 4.5 GB, Spark and its workers 4."""
    finding = f"{total_bytes / _GIB:.1f} GiB"
    if total_bytes < 6 * _GIB:
        advice = "6 GiB are the least; 12 GiB let the pipeline run beside the services."
        return Result("memory", Status.FAIL, finding, advice)
    if total_bytes < 12 * _GIB:
        return Result("memory", Status.WARN, finding, "Don't run the pipeline while the services run, or add memory.")
    return Result("memory", Status.OK, finding)


def check_processor(flags: frozenset[str]) -> Result:
    """Judge what the processor multiplies in hardware, and say what follows."""
    has_bf16 = bool(flags & {"amx_bf16", "avx512_bf16"})
    if has_bf16:
        return Result("processor", Status.OK, "bf16 and AVX-512: bf16 models, and the AWQ checkpoint")
    if "avx512f" in flags:
        advice = "Nothing to do: models run in fp32, about three times slower; the AWQ checkpoint runs."
        return Result("processor", Status.WARN, "AVX-512, no bf16", advice)
    if flags:
        advice = "Nothing to do: models run in fp32, and the AWQ checkpoint is served on GPUs only."
        return Result("processor", Status.WARN, "no AVX-512, no bf16", advice)
    return Result("processor", Status.WARN, "unknown", "Nothing to do: models run in fp32.")


def check_gpu(*, is_there: bool, is_used: bool) -> list[Result]:
    """Judge whether what is installed can use an NVIDIA GPU; nothing to say where there is none."""
    if not is_there:
        return []
    if is_used:
        return [Result("GPU", Status.OK, "NVIDIA, which torch can use")]
    advice = "`make setup VARIANT=gpu` installs a torch and a vLLM that can (some GB)."
    return [Result("GPU", Status.WARN, "NVIDIA, but the installed torch can't use it", advice)]


def check_disk(name: str, folder: Path, free_bytes: int) -> Result:
    """Judge the free space where something grows."""
    finding = f"{free_bytes / _GIB:.1f} GiB free ({folder})"
    if free_bytes < 2 * _GIB:
        return Result(name, Status.FAIL, finding, "Free some space, or move it (FOREBAY_DATA, FOREBAY_HOME).")
    if free_bytes < 8 * _GIB:
        return Result(name, Status.WARN, finding, "Enough for the sample corpus; a large one needs more.")
    return Result(name, Status.OK, finding)


def check_port(name: str, port: int, setting: str, *, is_free: bool) -> Result:
    """Judge whether a port can be listened on."""
    if is_free:
        return Result(f"port of {name}", Status.OK, f"{port} is free")
    advice = f"Nothing to do if Forebay itself is running; else end what uses it, or choose another: {setting}."
    return Result(f"port of {name}", Status.WARN, f"{port} is in use", advice)


def check_quantized_model(check: Path, awq: Path) -> Result:
    """Judge the AWQ checkpoint by what the job that made it found."""
    import json

    name = "AWQ checkpoint"
    if not check.exists() or not awq.exists():
        return Result(name, Status.WARN, "not made yet; the bf16 model serves", "`make quantize` makes it.")
    try:
        found = json.loads(check.read_text("utf-8"))
        passed, reason = bool(found["passed"]), str(found["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return Result(name, Status.FAIL, f"{check} can't be read", "`make quantize` makes it again.")
    if not passed:
        return Result(name, Status.WARN, f"failed its check: {reason}", "The bf16 model serves.")
    return Result(name, Status.OK, reason)


def check_release(paths: PathSettings) -> Result:
    """Judge the current release: its manifest, and the names and sizes of its files, or its count in the cluster."""
    name = "release"
    try:
        manifest = ReleaseRegistry(paths.releases).current()
        if manifest is None:
            advice = "`forebay ingest PATH` or `make demo` makes one."
            return Result(name, Status.WARN, f"none in {paths.data.absolute()}", advice)
        _look_at(manifest, paths)
    except (ReleaseError, ConfigurationError) as exc:
        return Result(name, Status.FAIL, str(exc), "`forebay release rollback`, or run the pipeline again.")
    finding = f"{manifest.release_id}: {manifest.documents:,} documents, {manifest.chunks:,} chunks"
    return Result(name, Status.OK, finding)


def check_reranker(model: str, paths: PathSettings) -> Result:
    """Judge the reranker; a search does without one that can't be loaded."""
    name = "reranker"
    if not model:
        return Result(name, Status.OK, "none set")
    advice = "Searches keep their own order until it is right."
    if model.startswith(("/", ".", "~")) and not Path(model).is_dir():
        return Result(name, Status.WARN, f"there is no folder {model!r}", f"Set FOREBAY_SERVING_RERANKER. {advice}")
    if Path(model).is_dir() or model.startswith("package:"):
        try:
            check_cross_encoder(model_folder(model, paths.models))
        except ModelError as exc:
            return Result(name, Status.WARN, str(exc), advice)
    return _check_model(name, model, paths, lambda: model_folder(model, paths.models))


def check_canary(paths: PathSettings) -> Result | None:
    """Judge the canary as `check_release` does the current release; None without one."""
    name = "canary"
    canaries = CanaryRegistry(paths.releases)
    try:
        canary = canaries.current()
    except ReleaseError as exc:
        return Result(name, Status.FAIL, str(exc), "Do as it says.")
    if canary is None:
        return None
    try:
        _look_at(ReleaseRegistry(paths.releases).load(canary.release_id), paths)
    except (ReleaseError, ConfigurationError) as exc:
        return Result(name, Status.FAIL, str(exc), "`forebay release rollback` ends the canary.")
    compared = len(canaries.observations(canary).searches)
    finding = f"{canary.release_id}: {canary.share:.0%} of the searches, {compared} of {canary.min_searches} compared"
    if canary.is_overdue(datetime.now(UTC)):
        advice = "Too few searches come to it: end it with `forebay release promote` or `forebay release rollback`."
        return Result(name, Status.WARN, f"{finding}, overdue", advice)
    return Result(name, Status.OK, finding)


def _look_at(manifest: ReleaseManifest, paths: PathSettings) -> None:
    if manifest.index.store == "weaviate":
        # The client is heavy, and only some releases need it.
        from forebay.store.weaviate_store import connected_store

        with connected_store() as store:
            store.check_complete(manifest)
    else:
        for ref in manifest.shards:
            verify(paths.shards / ref.path, ref, contents=False)


def _check_models(paths: PathSettings, embedding: EmbeddingSettings, generator: GeneratorSettings) -> list[Result]:
    folders = checkpoint_folders(generator, paths)
    return [
        _check_model("embedding model", embedding.model, paths, lambda: model_folder(embedding.model, paths.models)),
        _check_model(
            "generation model",
            generator.model,
            paths,
            lambda: ensure_base_checkpoint(generator, paths) if folders.base.exists() else None,
        ),
        check_quantized_model(folders.check, folders.awq),
    ]


def _check_model(name: str, model: str, paths: PathSettings, find: Callable[[], Path | None]) -> Result:
    """Verify a packaged or local model; a hub model isn't asked for, for that would fetch it."""
    if not model.startswith("package:") and not Path(model).is_dir():
        return Result(name, Status.OK, f"{model} (hub; fetched at first use into {paths.models / 'hub'})")
    try:
        folder = find()
    except ModelError as exc:
        return Result(name, Status.FAIL, str(exc), "Do as it says.")
    if folder is None:
        return Result(name, Status.WARN, f"{model} is not in the cache {paths.models}", "Run `make setup`.")
    return Result(name, Status.OK, f"{model} ({folder}), checksums right")


def _usable_cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _first_line(Path("/sys/fs/cgroup/cpu.max")).split()
    if len(quota) == 2 and quota[0].isdigit():
        cores = min(cores, max(1, int(quota[0]) // int(quota[1])))
    return cores


def _usable_memory_bytes() -> int:
    import psutil

    total = psutil.virtual_memory().total
    limit = _first_line(Path("/sys/fs/cgroup/memory.max"))
    return min(total, int(limit)) if limit.isdigit() else total


def _first_line(path: Path) -> str:
    try:
        return path.read_text("utf-8").partition("\n")[0]
    except OSError:
        return ""


def _free_bytes(folder: Path) -> int:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
