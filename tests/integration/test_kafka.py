"""Kafka sources against a real broker: what is read, what is committed, and what a crash leaves."""

import json
import pickle

import pytest
from confluent_kafka import Producer

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.settings import KafkaSettings
from forebay.sources.contract import Record, Rejected, UnreadableError
from forebay.sources.kafka import KafkaSource
from forebay.sources.kafka_address import KafkaAddress
from forebay.sources.kafka_client import TopicClient
from forebay.sources.registry import open_source
from tests.kafka_broker import kafka_broker

pytestmark = pytest.mark.integration

MAX_BYTES = 2000


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with kafka_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def topic(broker, request):
    return broker.make_topic(request.node.name.replace("test_", "", 1)[:60])


def _source(broker, topic, **settings):
    return KafkaSource(KafkaAddress((broker.address,), topic), KafkaSettings(timeout_s=5, **settings))


def _row(key, text):
    return {"key": key, "value": json.dumps({"text": text})}


def _read(source, changes):
    return [item for unit in changes.units for item in source.read(unit, MAX_BYTES)]


def _texts(items):
    return {item.doc_id: json.loads(item.data)["text"] for item in items}


def test_messages_become_documents_deletions_and_rejects(broker, topic):
    broker.produce(
        topic,
        [
            _row("a", "first"),
            {"key": "b", "value": "# Heading", "headers": [("format", b"markdown")]},
            {"key": "a", "value": None},
            {"value": '{"text": "no key"}'},
            {"key": "c", "value": b"x" * (MAX_BYTES + 1)},
            {"key": b"\xff\xfe", "value": "{}"},
            {"key": "k" * 513, "value": "{}"},
            {"key": "d", "value": "x", "headers": [("format", b"runes")]},
            {"value": None},
        ],
    )
    source = open_source(f"kafka://{broker.address}/{topic}")
    changes = source.changes()
    assert not changes.is_snapshot
    records, rejects = [], []
    for item in _read(source, changes):
        (rejects if isinstance(item, Rejected) else records).append(item)
    assert records == [
        Record(f"{topic}/0@0", 0, b'{"text": "first"}', "row", "a"),
        Record(f"{topic}/0@1", 1, b"# Heading", "markdown", "b"),
        Record(f"{topic}/0@2", 2, b"", "row", "a", is_deleted=True),
        Record(f"{topic}/0@3", 3, b'{"text": "no key"}', "row", None),
    ]
    assert [(item.uri, item.line, item.reason, item.doc_id) for item in rejects] == [
        (f"{topic}/0@4", 4, RejectionReason.TOO_LARGE, "c"),
        (f"{topic}/0@5", 5, RejectionReason.INVALID_ID, None),
        (f"{topic}/0@6", 6, RejectionReason.INVALID_ID, None),
        (f"{topic}/0@7", 7, RejectionReason.UNSUPPORTED_FORMAT, "d"),
        (f"{topic}/0@8", 8, RejectionReason.INVALID_ID, None),
    ]
    source.acknowledge(changes, rejects)
    assert source.changes().units == []
    letters = broker.messages(f"{topic}.dead-letter")
    assert {(letter.key(), letter.value()) for letter in letters} == {
        (b"c", b"x" * (MAX_BYTES + 1)),
        (b"\xff\xfe", b"{}"),
        (b"k" * 513, b"{}"),
        (b"d", b"x"),
        (None, None),
    }
    (runes,) = [dict(letter.headers()) for letter in letters if letter.key() == b"d"]
    assert runes.pop("forebay-detail").startswith(b"the header 'format' is none of")
    assert runes == {
        "format": b"runes",
        "forebay-reason": b"unsupported_format",
        "forebay-topic": topic.encode(),
        "forebay-partition": b"0",
        "forebay-offset": b"7",
    }


def test_every_message_of_all_partitions_is_read_once(broker):
    topic = broker.make_topic("partitioned", partitions=3)
    broker.produce(topic, [_row(f"k{number}", str(number)) for number in range(30)])
    source = _source(broker, topic, batch_messages=16, range_messages=4)
    assert source.lag() == 30
    seen = []
    while (changes := source.changes()).units:
        assert sum(unit.end - unit.start for unit in changes.units) <= 16
        assert all(unit.end - unit.start <= 4 for unit in changes.units)
        seen += [item.doc_id for item in _read(source, changes)]
        source.acknowledge(changes, [])
    assert sorted(seen) == sorted(f"k{number}" for number in range(30))
    assert source.lag() == 0
    assert source.changes().cursor == changes.cursor


def test_a_crash_before_the_acknowledgement_reads_the_same_again(broker, topic):
    broker.produce(topic, [_row("a", "1"), _row("b", "2")])
    first = _source(broker, topic).changes()
    before = _read(_source(broker, topic), first)
    # The run dies here; a message arrives; the next run is another process, so nothing but the group remembers.
    broker.produce(topic, [_row("a", "3")])
    again = pickle.loads(pickle.dumps(_source(broker, topic)))
    second = again.changes()
    assert _read(again, second)[:2] == before
    again.acknowledge(second, [])
    assert broker.committed(topic) == 3


def test_a_crash_between_dead_letter_and_commit_only_repeats_the_letter(broker, topic, monkeypatch):
    broker.produce(topic, [_row("a", "1"), {"key": "b", "value": "{broken"}])
    source = _source(broker, topic)
    changes = source.changes()
    reject = Rejected(f"{topic}/0@1", 1, RejectionReason.INVALID_JSON, "the row is not JSON", "b")
    with monkeypatch.context() as patched:
        patched.setattr(TopicClient, "commit_forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            source.acknowledge(changes, [reject])
    assert source.changes().units == changes.units
    source.acknowledge(changes, [reject])
    letters = broker.messages(f"{topic}.dead-letter")
    assert [(letter.value(), dict(letter.headers())["forebay-offset"]) for letter in letters] == [
        (b"{broken", b"1")
    ] * 2


def test_offsets_never_move_backwards(broker, topic):
    broker.produce(topic, [_row(str(number), "x") for number in range(5)])
    source = _source(broker, topic, batch_messages=2)
    changes = source.changes()
    broker.commit(topic, 4)
    source.acknowledge(changes, [])
    assert broker.committed(topic) == 4


def test_an_unread_range_keeps_its_partition_where_it_is(broker):
    topic = broker.make_topic("unread", partitions=2)
    broker.produce(topic, [{**_row("a", "1"), "partition": 0}, {**_row("b", "2"), "partition": 1}])
    source = _source(broker, topic)
    source.acknowledge(source.changes(), [Rejected(f"{topic}/0", 0, RejectionReason.UNREADABLE, "no answer")])
    assert (broker.committed(topic, 0), broker.committed(topic, 1)) == (-1001, 1)


def test_a_reject_that_only_names_the_document_is_found_by_its_key(broker, topic):
    broker.produce(topic, [_row("a", "old"), _row("b", "2"), _row("a", "new")])
    source = _source(broker, topic)
    source.acknowledge(source.changes(), [Rejected(f"{topic}/0", 0, RejectionReason.DUPLICATE_ID, "taken", "a")])
    (letter,) = broker.messages(f"{topic}.dead-letter")
    assert json.loads(letter.value()) == {"text": "new"}
    assert dict(letter.headers())["forebay-offset"] == b"2"


def test_offsets_without_a_message_are_passed(broker, topic):
    producer = Producer({"bootstrap.servers": broker.address, "transactional.id": topic})
    producer.init_transactions(10)
    for key in "ab":
        producer.begin_transaction()
        producer.produce(topic, **_row(key, key))
        producer.commit_transaction(10)
    broker.produce(topic, [_row("c", "c")])
    # a, its marker, b, its marker, c
    source = _source(broker, topic, range_messages=2)
    changes = source.changes()
    assert [(unit.start, unit.end) for unit in changes.units] == [(0, 2), (2, 4), (4, 5)]
    assert [[item.doc_id for item in source.read(unit, MAX_BYTES)] for unit in changes.units] == [["a"], ["b"], ["c"]]


def test_a_batch_of_many_messages_is_read_to_its_end():
    # Another broker, librdkafka's own stand-in, because tansu gets the end of such a batch wrong.
    producer = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    (host,) = producer.list_topics(timeout=5).brokers.values()
    for number in range(50):
        producer.produce("batched", **_row(str(number), str(number)), partition=0)
    producer.flush()
    source = KafkaSource(KafkaAddress((f"{host.host}:{host.port}",), "batched"), KafkaSettings(range_messages=7))
    changes = source.changes()
    assert [item.position for item in _read(source, changes)] == list(range(50))
    source.acknowledge(changes, [])
    assert source.lag() == 0


def test_a_killed_broker_is_an_error_and_nothing_is_lost(broker, topic):
    broker.produce(topic, [_row("a", "1"), _row("b", "2")])
    source = _source(broker, topic)
    changes = source.changes()
    broker.kill()
    hasty = KafkaSource(KafkaAddress((broker.address,), topic), KafkaSettings(timeout_s=0.5))
    with pytest.raises(UnreadableError, match=r"no message came for 0.5 s \(.*refused"):
        _read(hasty, changes)
    with pytest.raises(ConfigurationError, match=broker.address):
        hasty.changes()
    with pytest.raises(ConfigurationError, match=broker.address):
        hasty.acknowledge(changes, [])
    broker.start()
    assert source.changes() == changes
    assert _texts(_read(source, changes)) == {"a": "1", "b": "2"}
    source.acknowledge(changes, [])
    broker.kill()
    broker.start()
    assert source.changes().units == []


def test_a_missing_topic_is_an_error_and_stays_missing(broker):
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="the Kafka topic 'nowhere' can't be read"):
            _source(broker, "nowhere").changes()


def test_a_topic_that_was_made_anew_is_an_error(broker, topic):
    broker.produce(topic, [_row("a", "1")])
    broker.commit(topic, 7)
    with pytest.raises(ConfigurationError, match="stands at offset 7 of partition 0, which ends at 1"):
        _source(broker, topic).changes()
