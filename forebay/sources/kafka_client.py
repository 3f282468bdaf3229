"""What is asked of Kafka brokers: the offsets of a topic and a group, and the messages of a range."""

import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.settings import KafkaSettings
from forebay.sources.contract import UnreadableError
from forebay.sources.kafka_address import KafkaAddress
from forebay.sources.kafka_connection import LOGGER, connection_config
from forebay.sources.kafka_ranges import PartitionOffsets, Span

__all__ = ["TopicClient", "topic_client"]

_POLL_S = 0.5
_PREFETCH_KIB = 16 * 2**10
_MAX_COMMIT_S = 120


class TopicClient:
    """Reads one topic without joining the consumer group, and moves the group's offsets."""

    def __init__(self, address: KafkaAddress, settings: KafkaSettings) -> None:
        self.address = address
        self.settings = settings
        self._said: deque[str] = deque(maxlen=2)
        config = {
            **connection_config(address, settings),
            "group.id": address.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            # A range that retention has removed is an error, not another range.
            "auto.offset.reset": "error",
            "check.crcs": True,
            "queued.max.messages.kbytes": _PREFETCH_KIB,
            # A message larger than the default would block its partition for good.
            "receive.message.max.bytes": 2**31 - 1,
            # Bounds how long a commit waits for the group's coordinator.
            "session.timeout.ms": int(min(max(settings.timeout_s, 1), _MAX_COMMIT_S) * 1000),
            "error_cb": self._hear,
        }
        self._consumer = Consumer(config)

    def offsets(self) -> list[PartitionOffsets]:
        """Ask where every partition begins and ends, and how far the group is.

        Raises:
            ConfigurationError: there is no such topic.
            KafkaException: the brokers can't be asked.
        """
        topic, timeout_s = self.address.topic, self.settings.timeout_s
        found = self._consumer.list_topics(topic, timeout_s).topics[topic]
        if found.error is not None or not found.partitions:
            reason = "it has no partitions" if found.error is None else found.error.str()
            raise ConfigurationError(f"the Kafka topic {topic!r} can't be read ({reason}); create it first.")
        offsets: list[PartitionOffsets] = []
        for partition, committed in self._committed(sorted(found.partitions)).items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout_s)
            offsets.append(PartitionOffsets(partition, low, high, committed))
            if committed is not None and committed < low:
                LOGGER.warning("%s/%d: messages %d to %d were removed unread", topic, partition, committed, low - 1)
        return offsets

    def messages(self, span: Span) -> Iterator[Message]:
        """Read the messages of a span, however many of its offsets hold one.

        Compaction and the markers of transactions leave offsets without a message: the position ends it, not a count.

        Raises:
            UnreadableError: the broker refuses, or nothing arrives for `timeout_s`.
        """
        self._consumer.assign([TopicPartition(self.address.topic, span.partition, span.start)])
        position, waiting_since = span.start, time.monotonic()
        while position < span.end:
            message = self._consumer.poll(_POLL_S)
            if message is None:
                self._give_up_after(waiting_since)
                continue
            offset, error = message.offset() or 0, message.error()
            if error is None and offset < span.end:
                yield message
                position, waiting_since = offset + 1, time.monotonic()
            elif error is None or error.code() == KafkaError._PARTITION_EOF:
                position = max(position, offset)
            else:
                raise UnreadableError(RejectionReason.UNREADABLE, f"Kafka says: {error.str()}")

    def commit_forward(self, ends: Mapping[int, int]) -> None:
        """Commit an offset for some partitions, except where the group is further already.

        Raises:
            ConfigurationError: another consumer is a member of the group.
            KafkaException: a broker refuses or can't be reached; some of the offsets may be committed.
        """
        now = self._committed(sorted(ends))
        forward = {partition: end for partition, end in ends.items() if end > (now[partition] or 0)}
        places = [TopicPartition(self.address.topic, partition, end) for partition, end in forward.items()]
        try:
            _raise_first_error((self._consumer.commit(offsets=places, asynchronous=False) or []) if places else [])
        except KafkaException as exc:
            if exc.args[0].code() == KafkaError.UNKNOWN_MEMBER_ID:
                raise ConfigurationError(
                    f"the Kafka group {self.address.group!r} has another consumer; name a group that nobody else uses."
                ) from exc
            raise

    def has_topic(self, topic: str) -> bool:
        """Say whether a topic exists; asking doesn't make it."""
        return self._consumer.list_topics(topic, self.settings.timeout_s).topics[topic].error is None

    def explain(self, exc: KafkaException) -> NoReturn:
        """Turn what the client raised into a sentence.

        Raises:
            ConfigurationError: always.
        """
        # Serves the callbacks: they know why, the exception often only that time ran out.
        self._consumer.poll(0)
        raise _refusal(self.address, [_text(exc), *self._said]) from exc

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def _hear(self, error: KafkaError) -> None:
        self._said.append(error.str())

    def _give_up_after(self, waiting_since: float) -> None:
        timeout_s = self.settings.timeout_s
        if time.monotonic() - waiting_since > timeout_s:
            why = "".join(f" ({said})" for said in list(self._said)[-1:])
            raise UnreadableError(RejectionReason.UNREADABLE, f"no message came for {timeout_s:g} s{why}")

    def _committed(self, partitions: list[int]) -> dict[int, int | None]:
        places = [TopicPartition(self.address.topic, partition) for partition in partitions]
        found = self._consumer.committed(places, self.settings.timeout_s)
        _raise_first_error(found)
        return {place.partition: place.offset if place.offset >= 0 else None for place in found}


@contextmanager
def topic_client(address: KafkaAddress, settings: KafkaSettings) -> Generator[TopicClient]:
    """Open a client; what the brokers refuse within the block becomes one sentence.

    Raises:
        ConfigurationError: a broker can't be reached or refuses, or the settings contradict each other.
    """
    try:
        client = TopicClient(address, settings)
    except KafkaException as exc:
        raise _refusal(address, [_text(exc)]) from exc
    try:
        yield client
    except KafkaException as exc:
        client.explain(exc)
    finally:
        client.close()


def _refusal(address: KafkaAddress, reasons: list[str]) -> ConfigurationError:
    return ConfigurationError(
        f"the Kafka brokers {address.servers} didn't do what was asked ({'; '.join(dict.fromkeys(reasons))}); "
        "see that they can be reached, and that FOREBAY_KAFKA_* says how."
    )


def _text(exc: KafkaException) -> str:
    return exc.args[0].str() if isinstance(exc.args[0], KafkaError) else str(exc)


def _raise_first_error(places: list[TopicPartition]) -> None:
    for place in places:
        if place.error is not None:
            raise KafkaException(place.error)
