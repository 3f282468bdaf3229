"""Whether each of 50,000 Kafka messages is in the document table once though broker and job are killed five times.

The real job ingests micro-batches until the consumer group has taken everything. Five of its runs are disturbed at
random moments, which `--seed` repeats: the broker is SIGKILLed and comes back after a while, or the run is, with all
of its processes.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import ROOT, SAMPLE, report
from forebay.settings import KafkaSettings, PathSettings
from forebay.sources.kafka import KafkaSource
from forebay.sources.kafka_address import KafkaAddress
from forebay.tables import document_table
from tests.kafka_broker import KafkaBroker, kafka_broker

MESSAGES = 50_000
PARTITIONS = 4
BATCH_MESSAGES = 5_000
KILLS = ("broker", "broker", "run", "run", "run")
_MAX_RUNS = 60
_RUN_TIMEOUT_S = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--batch", type=int, default=BATCH_MESSAGES)
    parser.add_argument("--ingest", metavar="SOURCE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ingest:
        raise SystemExit(0 if _materialize(options.ingest) else 1)
    with tempfile.TemporaryDirectory(prefix="forebay-kafka-") as folder:
        with kafka_broker(Path(folder) / "kafka") as broker:
            expected = _produce(broker, options.messages)
            began = time.monotonic()
            kills, runs = _ingest_all(broker, Path(folder) / "data", options)
            seconds = time.monotonic() - began
        figures = _compare(Path(folder) / "data", expected)
    report({"messages": len(expected), **figures, "kills": kills, "runs": runs, "seconds": round(seconds, 1)})


def _produce(broker: KafkaBroker, count: int) -> dict[str, str]:
    """Fill the topic; gives the text of every key."""
    topic = broker.make_topic("abstracts", PARTITIONS)
    expected, messages = {}, []
    for number, row in zip(range(count), _rows(), strict=False):
        text = f"{row['text']} (message {number})"
        expected[f"m{number}"] = text
        value = json.dumps({"title": row["title"], "text": text})
        messages.append({"key": f"m{number}", "value": value, "partition": number % PARTITIONS})
    # The last message of a partition in a batch of its own: see `tests.kafka_broker` for the reason.
    broker.produce(topic, messages[:-PARTITIONS], **{"batch.num.messages": 1000})
    broker.produce(topic, messages[-PARTITIONS:])
    stored = len(broker.messages(topic, range(PARTITIONS)))
    if stored != count:
        raise SystemExit(f"the broker holds {stored} of {count} messages before anything was killed")
    return expected


def _rows() -> Iterator[dict[str, Any]]:
    rows = [json.loads(line) for line in (SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()]
    while True:
        yield from rows


def _ingest_all(broker: KafkaBroker, data: Path, options: argparse.Namespace) -> tuple[int, int]:
    """Run the job until nothing is left; gives the number of kills and of runs."""
    chance = random.Random(options.seed)
    left = chance.sample(KILLS, len(KILLS))
    address = KafkaAddress((broker.address,), "abstracts")
    source = KafkaSource(address, KafkaSettings())
    # The first run is left alone: it tells how long one takes.
    run_s, runs = _run(address.name, data, options.batch), 1
    while lag := source.lag():
        print(f"run {runs}: {lag} messages to go, {len(left)} kills to come", flush=True)
        if runs == _MAX_RUNS:
            raise SystemExit(f"{lag} messages are left after {runs} runs")
        if left and _disturbed(broker, address.name, data, options.batch, (left[-1], chance.uniform(0.2, 1) * run_s)):
            left.pop()
        elif not left:
            _run(address.name, data, options.batch)
        runs += 1
    if left:
        raise SystemExit(f"everything was ingested before {len(left)} of the kills; give a smaller --batch")
    return len(KILLS), runs


def _run(source: str, data: Path, batch: int) -> float:
    """Run the job undisturbed; gives the seconds."""
    began = time.monotonic()
    process = _start(source, data, batch)
    process.wait(_RUN_TIMEOUT_S)
    print(f"  a run ended with {process.returncode} after {time.monotonic() - began:.1f} s")
    return time.monotonic() - began


def _disturbed(broker: KafkaBroker, source: str, data: Path, batch: int, kill: tuple[str, float]) -> bool:
    """Run the job and kill it, or the broker, after some seconds; says whether it was still running then."""
    victim, moment_s = kill
    process = _start(source, data, batch)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment_s)
        return False
    if victim == "broker":
        broker.kill()
        time.sleep(moment_s / 4)
        broker.start()
    else:
        _kill_tree(process)
    process.wait(_RUN_TIMEOUT_S)
    print(f"  killed the {victim} after {moment_s:.1f} s; the run ended with {process.returncode}")
    return True


def _start(source: str, data: Path, batch: int) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        "FOREBAY_DATA": str(data),
        "FOREBAY_KAFKA_BATCH_MESSAGES": str(batch),
        "FOREBAY_KAFKA_RANGE_MESSAGES": "500",
        "FOREBAY_KAFKA_TIMEOUT_S": "20",
        # The messages are 1,400 texts over and over; what is measured is that each has its document.
        "FOREBAY_DUPLICATES_SCOPE": "off",
    }
    data.mkdir(parents=True, exist_ok=True)
    with (data.parent / "runs.log").open("ab") as log:
        command = [sys.executable, __file__, "--ingest", source]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)


def _kill_tree(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        for victim in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()


def _materialize(source: str) -> bool:
    """Make the document table's partitions in this process, which starts the Spark job as its child."""
    import dagster as dg

    from orchestration.defs.automation import ALL_SHARDS
    from orchestration.defs.documents import documents
    from orchestration.resources import INTERACTIVE_TAG, resources

    result = dg.materialize(
        [documents],
        resources=resources(),
        run_config={"ops": {"documents": {"config": {"sources": [source]}}}},
        tags={**ALL_SHARDS, INTERACTIVE_TAG: "true"},
        raise_on_error=False,
    )
    return result.success


def _compare(data: Path, expected: dict[str, str]) -> dict[str, int]:
    published = document_table(PathSettings(data=data).tables).published()
    if published is None:
        raise SystemExit("no document table was published")
    rows = published.to_table(columns=["doc_id", "text"]).to_pylist()
    counted = Counter(row["doc_id"] for row in rows)
    return {
        "in_table": len(rows),
        "duplicates": sum(count - 1 for count in counted.values()),
        "missing": len(expected.keys() - counted.keys()),
        "wrong_text": sum(expected.get(row["doc_id"]) != row["text"] for row in rows),
    }


if __name__ == "__main__":
    main()
