import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from bentos.generator.checkpoint import list_checkpoints
from bentos.generator.hardware import Hardware
from bentos.generator.protocol import GenerationRequest
from bentos.generator.vllm_client import VllmClient
from bentos.generator.vllm_server import vllm_command, vllm_environment
from forebay.settings import GeneratorSettings

AVX2 = Hardware(has_cuda=False, multiplies_bf16=False, runs_awq_on_cpu=False)
AMX = Hardware(has_cuda=False, multiplies_bf16=True, runs_awq_on_cpu=True)
GPU = Hardware(has_cuda=True, multiplies_bf16=False, runs_awq_on_cpu=False)
REQUEST = GenerationRequest(messages=[{"role": "user", "content": "x"}], max_tokens=5)


@pytest.fixture
def folders(tmp_path):
    base, awq, check = tmp_path / "base", tmp_path / "awq", tmp_path / "awq-check.json"
    for folder in (base, awq):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    check.write_text(json.dumps({"passed": True}))
    return base, awq, check


def kinds(folders, hardware=AMX, use_awq=True):
    found = list_checkpoints(*folders, use_awq=use_awq, hardware=hardware)
    return [(checkpoint.kind, checkpoint.dtype) for checkpoint in found]


def test_awq_is_served_first_where_it_has_passed_and_runs(folders):
    assert kinds(folders) == [("awq", "bfloat16"), ("base", "bfloat16")]
    assert kinds(folders, GPU) == [("awq", "bfloat16"), ("base", "bfloat16")]


def test_awq_is_left_out_with_a_reason(folders):
    assert kinds(folders, AVX2) == [("base", "float32")]
    assert kinds(folders, use_awq=False) == [("base", "bfloat16")]
    folders[2].write_text(json.dumps({"passed": False, "reason": "answers EEEE"}))
    (only,) = list_checkpoints(*folders, use_awq=True, hardware=AMX)
    assert "EEEE" in only.reason
    for damaged in ("{", "[]", '{"passed": "yes"}'):
        folders[2].write_text(damaged)
        assert kinds(folders) == [("base", "bfloat16")]
    folders[2].unlink()
    assert kinds(folders) == [("base", "bfloat16")]


def test_a_quantized_model_is_served_in_half_precision(folders):
    (folders[0] / "config.json").write_text('{"quantization_config": {}}')
    assert kinds(folders, AVX2) == [("awq", "bfloat16")]


def test_the_server_listens_on_a_socket_and_sizes_its_cache_on_a_cpu_only(folders, tmp_path):
    (checkpoint,) = list_checkpoints(*folders, use_awq=False, hardware=AVX2)
    command = vllm_command(checkpoint, GeneratorSettings(), tmp_path / "s", has_cuda=False)
    assert command[command.index("--uds") + 1] == str(tmp_path / "s")
    assert "--enforce-eager" in command
    assert "--port" not in command
    assert command[command.index("--max-num-seqs") + 1] == "16"
    on_gpu = vllm_command(checkpoint, GeneratorSettings(), tmp_path / "s", has_cuda=True)
    assert "--enforce-eager" not in on_gpu
    assert on_gpu[on_gpu.index("--max-num-seqs") + 1] == "256"
    few = vllm_command(checkpoint, GeneratorSettings(max_sequences=3), tmp_path / "s", has_cuda=True)
    assert few[few.index("--max-num-seqs") + 1] == "3"
    assert few[few.index("--max-num-queued-reqs") + 1] == "12"
    environment = vllm_environment({"PATH": "/bin"}, checkpoint)
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert environment["PATH"] == "/bin"


def chunk(text, reason=None, tokens=1):
    choice = {"delta": {"content": text}, "finish_reason": reason}
    return {"choices": [choice], "usage": {"prompt_tokens": 4, "completion_tokens": tokens}}


def client(status, lines):
    content = lines if isinstance(lines, bytes) else "".join(f"data: {line}\n\n" for line in lines).encode()
    return VllmClient(transport=httpx.MockTransport(lambda request: httpx.Response(status, content=content)))


async def events(status, lines):
    return [event async for event in client(status, lines).stream(REQUEST)]


async def test_a_stream_ends_with_done_and_the_token_counts():
    lines = [
        json.dumps(chunk("", tokens=0)),
        json.dumps(chunk("wä")),
        json.dumps(chunk("!", "length", 2)),
        "[DONE]",
    ]
    first, second, done = await events(200, lines)
    assert (first.text, second.text) == ("wä", "!")
    assert (done.kind, done.finish_reason, done.prompt_tokens, done.completion_tokens) == (
        "done",
        "length",
        4,
        2,
    )


@pytest.mark.parametrize(
    ("status", "lines", "error"),
    [
        (503, b"queue full", "busy"),
        (400, b"the maximum context length is 4096", "too_long"),
        (400, b"other", "failed"),
        (500, b"oops", "failed"),
        (200, ["not json"], "failed"),
        (200, [json.dumps({"error": {"message": "engine dead"}})], "failed"),
        (200, [json.dumps(chunk("x"))], "failed"),
    ],
)
async def test_whatever_goes_wrong_is_one_error_event(status, lines, error):
    assert (await events(status, lines))[-1].error == error


async def test_a_server_that_is_not_there_is_not_ready(tmp_path):
    last = [event async for event in VllmClient(tmp_path / "none.sock").stream(REQUEST)][-1]
    assert (last.kind, last.error) == ("error", "not_ready")


SPAWNING = """
import subprocess, sys, time
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(99)"
child = subprocess.Popen([sys.executable, "-c", stubborn])
open(sys.argv[1], "w").write(str(child.pid)); time.sleep(99)
"""


@pytest.mark.parametrize("end", ["close stdin", "SIGKILL the parent"])
def test_the_guard_leaves_no_grandchild_behind(tmp_path, end):
    note = tmp_path / "pid"
    command = [sys.executable, "-m", "bentos.generator.guard", sys.executable, "-c", SPAWNING, str(note)]
    if end == "SIGKILL the parent":
        starter = f"import subprocess, time; subprocess.Popen({command!r}, stdin=subprocess.PIPE); time.sleep(99)"
        command = [sys.executable, "-c", starter]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE)
    wait_until(lambda: note.exists() and note.read_text(), 20)
    grandchild = int(note.read_text())
    if end == "close stdin":
        guard.stdin.close()
    else:
        guard.kill()
    guard.wait(20)
    guard.stdin.close()
    wait_until(lambda: not is_running(grandchild), 20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_guard_leaves_it_to_its_parent_when_to_end(tmp_path, number):
    note = tmp_path / "pid"
    command = [sys.executable, "-m", "bentos.generator.guard", sys.executable, "-c", SPAWNING, str(note)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE)
    wait_until(lambda: note.exists() and note.read_text(), 20)
    guard.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        guard.wait(1)
    assert is_running(int(note.read_text()))
    guard.stdin.close()
    guard.wait(20)


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
