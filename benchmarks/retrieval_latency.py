"""`make bench-retrieval`: latency of `POST /v1/search` with one client, the query's embedding included."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import numpy as np

from benchmarks.machine import ROOT, SAMPLE, ingest, report
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings

_PORT = 3049
_READY_S = 600
_WARM_UP = 20
_ROUNDS = 2


def main() -> None:
    paths = PathSettings()
    if ReleaseRegistry(paths.releases).current() is None:
        ingest(SAMPLE, paths.data)
    questions = [json.loads(line)["text"] for line in (SAMPLE / "queries.jsonl").read_text("utf-8").splitlines()]
    environment = {**os.environ, "FOREBAY_SERVING_PORT": str(_PORT)}
    log = paths.data / "logs" / "bench-services.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        command = [sys.executable, "-m", "bentos.serve"]
        services = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{_PORT}", timeout=30) as client:
            _wait(client)
            for question in questions[:_WARM_UP]:
                _search(client, question)
            # One query after another: the client waits for each answer.
            times_ms = np.array([_search(client, question) for _ in range(_ROUNDS) for question in questions])
    finally:
        services.terminate()
        services.wait(60)
    p50, p99 = np.percentile(times_ms, [50, 99])
    print(f"{len(times_ms)} searches: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    report(
        {
            "p50_ms": round(float(p50), 2),
            "p99_ms": round(float(p99), 2),
            "qps": round(1000 * len(times_ms) / float(times_ms.sum()), 1),
            "searches": len(times_ms),
        }
    )


def _wait(client: httpx.Client) -> None:
    """Wait for the generator too, so that its start takes no processor time from the measurement."""
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        try:
            if client.get("/health").status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    raise SystemExit(f"the services were not ready after {_READY_S} s")


def _search(client: httpx.Client, question: str) -> float:
    began = time.perf_counter()
    response = client.post("/v1/search", json={"query": question, "top_k": 10})
    seconds = time.perf_counter() - began
    if response.status_code != httpx.codes.OK or len(response.json()["hits"]) != 10:
        raise SystemExit(f"a search failed: {response.text}")
    return seconds * 1000


if __name__ == "__main__":
    main()
