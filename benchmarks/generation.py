"""`make bench-generate`: what the generator's vLLM server gives one caller and many, and how soon it is ready.

The model as it was published and its AWQ checkpoint (where `make quantize` has made one, whatever its check said) are
served one after the other by the product's own supervisor. Each request is another passage of `samples/cranfield` with
a question; answers are greedy and have at most `--tokens` tokens.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import SAMPLE, report
from bentos.generator.checkpoint import Checkpoint, list_checkpoints
from bentos.generator.hardware import Hardware, detect_hardware
from bentos.generator.protocol import GenerationRequest
from bentos.generator.supervisor import Supervisor
from bentos.generator.vllm_server import most_sequences
from forebay.generation_models import checkpoint_folders, ensure_base_checkpoint
from forebay.settings import GeneratorSettings, PathSettings

_START_S = 240.0
_REQUESTS_PER_CLIENT = 3


@dataclass
class _Answer:
    """One request, as its caller saw it."""

    error: str
    first_s: float
    whole_s: float
    prompt_tokens: int
    tokens: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16], help="callers at once, one round for each")
    parser.add_argument("--tokens", type=int, default=128, help="most tokens of an answer")
    arguments = parser.parse_args()
    if sum(arguments.clients) * (1 + _REQUESTS_PER_CLIENT) > len(_prompts()):
        parser.error(f"there are {len(_prompts())} passages, and {1 + _REQUESTS_PER_CLIENT} are needed for each client")
    hardware = detect_hardware()
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        served = {
            checkpoint.kind: asyncio.run(_measured(checkpoint, arguments, hardware, Path(folder) / "vllm.log"))
            for checkpoint in _checkpoints(hardware)
        }
    sequences = most_sequences(GeneratorSettings(), has_cuda=hardware.has_cuda)
    report({"served": served, "sequences": sequences, "has_cuda": hardware.has_cuda})
    if any("problem" in figures for figures in served.values()):
        raise SystemExit(1)


def _checkpoints(hardware: Hardware) -> list[Checkpoint]:
    settings, paths = GeneratorSettings(), PathSettings()
    base, folders = ensure_base_checkpoint(settings, paths), checkpoint_folders(settings, paths)
    found = list_checkpoints(base, folders.awq, folders.check, use_awq=False, hardware=hardware)
    if (folders.awq / "config.json").exists() and (hardware.has_cuda or hardware.runs_awq_on_cpu):
        found.append(Checkpoint(str(folders.awq), "awq", "bfloat16", "it is measured"))
    return found


async def _measured(checkpoint: Checkpoint, arguments: argparse.Namespace, hardware: Hardware, log: Path) -> Any:
    supervisor = Supervisor(GeneratorSettings(), lambda: [checkpoint], log, has_cuda=hardware.has_cuda)
    began = time.perf_counter()
    supervisor.start()
    try:
        while not supervisor.status.ready:
            if time.perf_counter() - began > _START_S or supervisor.status.detail.endswith("restarted."):
                return {"problem": _end_of(log)}
            await asyncio.sleep(0.1)
        start_s = round(time.perf_counter() - began, 1)
        prompts = _prompts()
        rounds = {}
        for clients in arguments.clients:
            # The first answers of a size also wait for what is compiled for it.
            await _round(supervisor, prompts, clients, arguments.tokens, per_client=1)
            rounds[str(clients)] = await _round(supervisor, prompts, clients, arguments.tokens)
            print(f"{checkpoint.kind}, {clients} clients: {json.dumps(rounds[str(clients)])}", flush=True)
        return {"start_s": start_s, "clients": rounds}
    finally:
        await supervisor.stop()


def _end_of(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()
    errors = [line for line in lines if "Error" in line]
    print("\n".join(lines[-60:]), file=sys.stderr)
    return (errors or lines or ["it wrote nothing"])[-1][-400:]


def _prompts() -> list[str]:
    documents = [json.loads(line) for line in (SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()]
    return [f"{row['text'][:1000]}\n\nWhat is this about, and what was found?" for row in documents if row["text"]]


async def _round(
    supervisor: Supervisor, prompts: list[str], clients: int, tokens: int, per_client: int = _REQUESTS_PER_CLIENT
) -> dict[str, float]:
    async def ask() -> list[_Answer]:
        # Another passage each time and for each: none is in the prefix cache.
        own = [prompts.pop() for _ in range(per_client)]
        return [await _asked(supervisor, prompt, tokens) for prompt in own]

    began = time.perf_counter()
    answers = [answer for own in await asyncio.gather(*(ask() for _ in range(clients))) for answer in own]
    seconds = time.perf_counter() - began
    good = [answer for answer in answers if not answer.error]
    if not any(answer.first_s for answer in good):
        return {"failed": len(answers)}
    firsts = sorted(answer.first_s for answer in good if answer.first_s)
    return {
        "tokens_per_s": round(sum(answer.tokens for answer in good) / seconds, 1),
        "tokens_per_s_each": round(
            statistics.median((a.tokens - 1) / (a.whole_s - a.first_s) for a in good if a.tokens > 1), 1
        ),
        "first_token_ms_p50": round(1000 * statistics.median(firsts), 1),
        "first_token_ms_p99": round(1000 * firsts[min(len(firsts) - 1, int(0.99 * len(firsts)))], 1),
        "prompt_tokens": round(statistics.mean(answer.prompt_tokens for answer in good)),
        "answer_tokens": round(statistics.mean(answer.tokens for answer in good)),
        "failed": len(answers) - len(good),
    }


async def _asked(supervisor: Supervisor, prompt: str, tokens: int) -> _Answer:
    request = GenerationRequest(messages=[{"role": "user", "content": prompt}], max_tokens=tokens)
    began = time.perf_counter()
    first_s, last = 0.0, None
    async for event in supervisor.client.stream(request):
        if event.kind == "text" and not first_s:
            first_s = time.perf_counter() - began
        last = event
    error = last.text if last is not None and last.kind == "error" else ""
    n_prompt, n_answer = (last.prompt_tokens, last.completion_tokens) if last is not None else (0, 0)
    return _Answer(error, first_s, time.perf_counter() - began, n_prompt, n_answer)


if __name__ == "__main__":
    main()
