"""SIGKILL a load into a double of Weaviate's protocol at random moments: it must end as an undisturbed one does.

The double (tests/weaviate_wire.py) is a process of its own and keeps its objects in memory. What a real server's disks
and replicas do when a loader dies, this doesn't tell.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import ROOT, report
from forebay.chunks import chunk_id
from forebay.documents import content_hash
from forebay.settings import IndexSettings, WeaviateSettings
from forebay.store.weaviate_store import connected_store
from tests.weaviate_wire import Wire, serve

_DIM = 384
_BATCH_ROWS = 1_000
_WORDS = ("water", "turbine", "penstock", "forebay", "lift", "wing", "panel", "flutter", "heat", "shock")
_EXPECTED, _KILLED = "a" * 16, "b" * 16
"""Ids of two releases: loaded without and with kills."""


def _batches(partition: int, n_rows: int, tenants: int) -> Iterator[pa.RecordBatch]:
    """Make the chunks of a partition, the same every time."""
    chosen = np.random.default_rng(partition)
    for start in range(0, n_rows, _BATCH_ROWS):
        n = min(_BATCH_ROWS, n_rows - start)
        vectors = chosen.standard_normal((n, _DIM), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        rows = [_row(partition, start + number, chosen.choice(_WORDS, 12), tenants) for number in range(n)]
        batch = pa.RecordBatch.from_pylist(rows)
        yield batch.append_column("vector", pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), _DIM))


def _row(partition: int, number: int, words: np.ndarray, tenants: int) -> dict[str, Any]:
    doc_id, text = f"d{partition}-{number}", " ".join(words)
    tenant = {"tenant": f"tenant {number % tenants}"} if tenants and number % (tenants + 1) else {}
    return {
        "chunk_id": chunk_id("bench", doc_id, 0),
        "doc_id": doc_id,
        "title": f"Document {number}",
        "heading_path": "",
        "page": 0,
        "text": text,
        "start_char": 0,
        "end_char": len(text),
        "text_hash": content_hash(text),
        "source": "bench",
        "uri": f"{doc_id}.txt",
        "format": "text",
        "language": "en",
        "metadata": json.dumps({"number": number % 100, **tenant}),
        "locations": "[]",
    }


def _load(settings: WeaviateSettings, release_id: str, options: argparse.Namespace) -> None:
    """Load what a release lacks, partition after partition, as the pipeline's tasks do."""
    rows, tenants = options.objects // options.partitions, options.tenants
    with connected_store(settings) as store:
        index = IndexSettings(store="weaviate", tenants=tenants > 0)
        store.prepare(release_id, index)
        for number in range(options.partitions):
            if not store.holds_partition(release_id, number, f"c{number}", rows):
                batches = _batches(number, rows, tenants)
                store.load_partition(release_id, number, f"c{number}", batches, dim=_DIM, index=index)


def _serve() -> None:
    """Be the double until the parent closes our input; told `compare`, print how the two collections differ."""
    wire = Wire()
    serve(wire)
    print(wire.url, wire.grpc_port, flush=True)
    for command in sys.stdin:
        expected, found = (_objects(wire, name) for name in (_EXPECTED, _KILLED))
        if command.strip() == "count":
            print(len(wire.received), flush=True)
        else:
            same = sum(found.get(key) == item for key, item in expected.items())
            print(same, len(expected.keys() - found.keys()), len(found.keys() - expected.keys()), flush=True)
    wire.stop()


def _objects(wire: Wire, release_id: str) -> dict[tuple[str, str], Any]:
    """Give what a release holds, by tenant and id."""
    places = wire.of_collection(f"ForebayChunks_{release_id}")
    return {(place.partition("/")[2], key): item for place, held in places.items() for key, item in held.items()}


@contextmanager
def _double() -> Generator[tuple[subprocess.Popen[str], WeaviateSettings]]:
    command = [sys.executable, __file__, "--serve"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            url, port = server.stdout.readline().split()
            yield server, WeaviateSettings(url=url, grpc_port=int(port))
        finally:
            server.kill()


def _ask(server: subprocess.Popen[str], question: str) -> list[int]:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(f"{question}\n")
    server.stdin.flush()
    return [int(figure) for figure in server.stdout.readline().split()]


def _start_loader(settings: WeaviateSettings, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    # fmt: off
    command = [
        sys.executable, __file__, "--load", settings.url, str(settings.grpc_port),
        "--objects", str(options.objects), "--partitions", str(options.partitions), "--tenants", str(options.tenants),
    ]
    # fmt: on
    return subprocess.Popen(command, cwd=ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument(
        "--tenants", type=int, default=0, help="tenants beside the shared one; 0: the collection has none"
    )
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve()
        return
    if options.load:
        url, port = options.load
        _load(WeaviateSettings(url=url, grpc_port=int(port)), _KILLED, options)
        return
    chosen, began = random.Random(options.seed), time.monotonic()
    with _double() as (server, settings):
        _load(settings, _EXPECTED, options)
        whole_s = time.monotonic() - began
        print(f"undisturbed: {whole_s:.0f} s", flush=True)
        # Moments by what the double has received, so that each falls into a load, however fast the machine is.
        (sent,) = _ask(server, "count")
        moments = sorted(chosen.randrange(sent, 2 * sent) for _ in range(options.kills))
        kills = 0
        loader = _start_loader(settings, options)
        for moment in moments:
            while loader.poll() is None and _ask(server, "count")[0] < moment:
                time.sleep(0.01)
            if loader.poll():
                sys.exit("a load failed by itself.")
            if loader.returncode is None:
                loader.send_signal(signal.SIGKILL)
                kills += 1
                loader.wait()
                print(f"kill {kills}: {_ask(server, 'count')[0] - sent:,} objects were received", flush=True)
                loader = _start_loader(settings, options)
        if loader.wait():
            sys.exit("the last load failed by itself.")
        identical, missing, extra = _ask(server, "compare")
    objects = options.objects // options.partitions * options.partitions
    figures = {"objects": objects, "tenants": options.tenants, "kills": kills}
    figures |= {"identical": identical, "missing": missing}
    seconds = {"undisturbed_s": round(whole_s, 1), "seconds": round(time.monotonic() - began, 1)}
    report({**figures, "extra": extra, **seconds})


if __name__ == "__main__":
    main()
