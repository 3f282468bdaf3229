"""Rejected Kafka messages go to a topic of their own before their offsets are committed.

A crash between the two sends them again, so the headers `forebay-topic`, `-partition` and `-offset` are what tells
letters apart.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from forebay.errors import ConfigurationError
from forebay.sources.kafka_client import TopicClient
from forebay.sources.kafka_connection import connection_config
from forebay.sources.kafka_messages import Headers, headers_of, id_of
from forebay.sources.kafka_ranges import DeadLetter, Span

__all__ = ["send_dead_letters"]

_NEAR_OFFSETS = 500
_MAX_DETAIL_CHARS = 1000
_LARGEST_MESSAGE_BYTES = 1_000_000_000
_QUEUED_LETTERS = 100


def send_dead_letters(client: TopicClient, letters: Sequence[DeadLetter]) -> None:
    """Send rejected messages, as they were, with headers that say why; returns once all are stored.

    Args:
        client: Reads them again; the letters go to its topic's name and `dead_letter_suffix`.
        letters: What was rejected.

    Raises:
        ConfigurationError: a letter was refused, or not stored in time.
        UnreadableError: a range can't be read again.
        KafkaException: the brokers can't be asked.
    """
    outbox = _Outbox(client)
    for partition in sorted({letter.span.partition for letter in letters}):
        chosen = [letter for letter in letters if letter.span.partition == partition]
        for letter, message in _with_messages(client, chosen):
            outbox.send(letter, message)
    outbox.close()


def _with_messages(client: TopicClient, letters: Sequence[DeadLetter]) -> Iterator[tuple[DeadLetter, Message | None]]:
    """Read the messages of one partition's letters again; None for one that the topic no longer holds."""
    at_offset = {letter.span.start: letter for letter in letters if letter.doc_id is None}
    of_id = {letter.doc_id: letter for letter in letters if letter.doc_id is not None}
    last_of_id: dict[str, Message] = {}
    for span in _merged([letter.span for letter in letters]):
        for message in client.messages(span):
            letter = at_offset.pop(message.offset() or 0, None)
            if letter is not None:
                yield letter, message
            elif of_id and (doc_id := id_of(message)) in of_id:
                last_of_id[doc_id] = message
    yield from ((letter, last_of_id.get(doc_id)) for doc_id, letter in of_id.items())
    yield from ((letter, None) for letter in at_offset.values())


def _merged(spans: Sequence[Span]) -> Iterator[Span]:
    """Join spans that lie so near that reading on is cheaper than to seek."""
    start = end = -1
    for span in sorted(spans, key=lambda span: span.start):
        if end >= 0 and span.start - end > _NEAR_OFFSETS:
            yield Span(span.partition, start, end)
            start = -1
        start = span.start if start < 0 else start
        end = max(end, span.end)
    if end >= 0:
        yield Span(spans[0].partition, start, end)


class _Outbox:
    """Sends letters and minds what becomes of them."""

    def __init__(self, client: TopicClient) -> None:
        settings = client.settings
        self._source, self._timeout_s = client.address.topic, settings.timeout_s
        self._topic = self._source + settings.dead_letter_suffix
        self._refused: list[str] = []
        self._too_large: list[tuple[bytes | None, Headers]] = []
        config = connection_config(client.address, settings)
        if not client.has_topic(self._topic):
            _make_topic(self._topic, config, settings.timeout_s)
        self._producer = Producer(
            {
                **config,
                "enable.idempotence": True,
                "acks": "all",
                "delivery.timeout.ms": int(settings.timeout_s * 1000),
                "message.max.bytes": _LARGEST_MESSAGE_BYTES,
                # Letters may be large, so few wait at a time; but any single one must fit.
                "queue.buffering.max.messages": _QUEUED_LETTERS,
                "queue.buffering.max.kbytes": _LARGEST_MESSAGE_BYTES // 2**10,
                # One message a batch: a batch that is too large would take small letters with it.
                "batch.num.messages": 1,
            }
        )

    def send(self, letter: DeadLetter, message: Message | None) -> None:
        """Hand over a letter; the value is null where the message is gone."""
        reject = letter.rejected
        offset = letter.span.start if message is None else message.offset()
        headers: Headers = [] if message is None else headers_of(message)
        headers += [
            ("forebay-reason", reject.reason.value),
            ("forebay-detail", reject.detail[:_MAX_DETAIL_CHARS].encode("utf-8", "replace")),
            ("forebay-topic", self._source),
            ("forebay-partition", str(letter.span.partition)),
            ("forebay-offset", str(offset)),
        ]
        key, value = (None, None) if message is None else (message.key(), message.value())
        self._produce(key, value, headers)

    def close(self) -> None:
        """Wait until every letter is stored.

        Raises:
            ConfigurationError: one was refused, or not stored in time.
        """
        left = self._producer.flush(self._timeout_s)
        for key, headers in self._too_large:
            self._produce(key, None, headers)
        left = left or self._producer.flush(self._timeout_s)
        if left:
            self._refused.append(f"no answer in {self._timeout_s:g} s")
        self._stop_at_refusal()

    def _stop_at_refusal(self) -> None:
        if self._refused:
            raise ConfigurationError(
                f"rejected messages could not be sent to the topic {self._topic!r} ({self._refused[0]}); "
                "nothing was committed, so the next run sends them again."
            )

    def _produce(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                return
            if value is not None and error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
                # Sent later without its value, not from within a callback.
                self._too_large.append((key, [*headers, ("forebay-value-left-out-bytes", str(len(value)))]))
            else:
                self._refused.append(error.str())

        while True:
            self._stop_at_refusal()
            try:
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=delivered)
                self._producer.poll(0)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return


def _make_topic(topic: str, config: dict[str, Any], timeout_s: float) -> None:
    wanted = NewTopic(topic, num_partitions=1, replication_factor=-1)
    try:
        with AdminClient(config) as admin:
            admin.create_topics([wanted], request_timeout=timeout_s)[topic].result()
    except KafkaException as exc:
        if exc.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise ConfigurationError(
                f"the topic {topic!r} for rejected messages can't be made ({exc.args[0].str()}); create it."
            ) from exc
