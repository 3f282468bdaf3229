import json
import pickle

import pytest
from confluent_kafka import KafkaError, Message
from hypothesis import given
from hypothesis import strategies as st

from forebay.documents import RejectionReason
from forebay.errors import ConfigurationError
from forebay.settings import KafkaSettings
from forebay.sources import dead_letters
from forebay.sources.contract import Record, Rejected
from forebay.sources.dead_letters import send_dead_letters
from forebay.sources.kafka import KafkaSource
from forebay.sources.kafka_address import KafkaAddress
from forebay.sources.kafka_connection import connection_config
from forebay.sources.kafka_messages import MESSAGE_FORMATS, record_of
from forebay.sources.kafka_ranges import DeadLetter, PartitionOffsets, Span, cursor_of, plan_spans, settle, units_of
from forebay.sources.registry import open_source
from spark_jobs.parse_documents.readers.registry import READERS

ADDRESS = KafkaAddress(("broker:9092",), "docs")


def _message(**fields):
    return Message(**{"topic": "docs", "partition": 3, "offset": 17, "key": b"a", "value": b"{}", **fields})


def _reject(uri, reason=RejectionReason.INVALID_JSON, doc_id=None):
    return Rejected(uri, 0, reason, "why", doc_id)


def test_a_name_has_one_way_of_writing():
    source = open_source("kafka://b:9093,a:9092/docs")
    assert source.name == "kafka://a:9092,b:9093/docs?group=forebay"
    assert KafkaAddress.parse("kafka://[::1]:9092/x.y_z-1?group=my%20group") == KafkaAddress(
        ("[::1]:9092",), "x.y_z-1", "my group"
    )


@pytest.mark.parametrize(
    "name",
    [
        "kafka:///docs",
        "kafka://broker",
        "kafka://broker/",
        "kafka://broker/a/b",
        "kafka://broker/..",
        "kafka://broker/t?group=",
        "kafka://broker/t?group",
        "kafka://bro ker/t",
        "kafka://broker:port/t",
        "kafka://[::1/t",
    ],
)
def test_a_wrong_name_is_a_named_error(name):
    with pytest.raises(ConfigurationError, match="must look like"):
        KafkaAddress.parse(name)


@pytest.mark.parametrize("name", ["kafka://me:secret@broker/t", "kafka://broker/t?sasl.password=secret"])
def test_a_password_in_the_name_is_refused_and_not_repeated(name):
    with pytest.raises(ConfigurationError, match="FOREBAY_KAFKA") as caught:
        KafkaAddress.parse(name)
    assert "secret" not in str(caught.value)


def test_a_password_is_in_no_text_and_no_pickle(monkeypatch):
    monkeypatch.setenv("FOREBAY_KAFKA_SASL_PASSWORD", "open sesame")
    monkeypatch.setenv("FOREBAY_KAFKA_SECURITY_PROTOCOL", "sasl_ssl")
    source = KafkaSource(ADDRESS, KafkaSettings(batch_messages=7))
    data = pickle.dumps(source)
    assert b"sesame" not in data + repr(vars(source)).encode() + source.name.encode()
    copy = pickle.loads(data)
    assert connection_config(ADDRESS, vars(copy)["_settings"])["sasl.password"] == "open sesame"
    assert vars(copy)["_settings"].batch_messages == 7


def test_the_password_file_goes_first(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("from file\n")
    settings = KafkaSettings(security_protocol="sasl_ssl", sasl_password="other", sasl_password_file=secret)
    assert connection_config(ADDRESS, settings)["sasl.password"] == "from file"
    secret.unlink()
    with pytest.raises(ConfigurationError, match=str(secret)):
        connection_config(ADDRESS, settings)
    with pytest.raises(ConfigurationError, match="no password"):
        connection_config(ADDRESS, KafkaSettings(security_protocol="sasl_ssl"))


def test_settings_that_contradict_each_other_are_a_named_error(tmp_path):
    settings = KafkaSettings(security_protocol="ssl", ssl_ca_file=tmp_path / "nowhere.pem")
    with pytest.raises(ConfigurationError, match=r"ssl\.ca\.location"):
        KafkaSource(ADDRESS, settings).changes()


def test_a_message_becomes_a_record():
    place = "docs/3@17"
    assert record_of(_message(), 10) == Record(place, 17, b"{}", "row", "a")
    assert record_of(_message(key=None), 10) == Record(place, 17, b"{}", "row")
    assert record_of(_message(value=None), 10) == Record(place, 17, b"", "row", "a", is_deleted=True)
    assert record_of(_message(value=b"", headers=[("format", b"html")]), 10) == Record(place, 17, b"", "html", "a")
    twice = [("format", b"html"), ("other", b"\xff"), ("format", b"text")]
    assert record_of(_message(headers=twice), 10).format == "text"


def test_a_message_may_have_every_format_that_is_one_document():
    assert {"row", *READERS} == MESSAGE_FORMATS


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"value": b"x" * 11}, RejectionReason.TOO_LARGE),
        ({"key": b"\xff"}, RejectionReason.INVALID_ID),
        ({"key": b""}, RejectionReason.INVALID_ID),
        ({"key": b"k" * 513}, RejectionReason.INVALID_ID),
        ({"key": None, "value": None}, RejectionReason.INVALID_ID),
        ({"headers": [("format", b"jsonl")]}, RejectionReason.UNSUPPORTED_FORMAT),
        ({"headers": [("format", b"\xff")]}, RejectionReason.UNSUPPORTED_FORMAT),
    ],
)
def test_a_message_that_cannot_be_accepted_is_rejected(fields, reason):
    rejected = record_of(_message(**fields), 10)
    assert (rejected.uri, rejected.line, rejected.reason) == ("docs/3@17", 17, reason)


def test_a_batch_is_shared_and_what_is_not_needed_goes_to_the_others():
    offsets = [
        PartitionOffsets(0, low=0, high=100, committed=90),
        PartitionOffsets(1, low=20, high=200, committed=None),
        PartitionOffsets(2, low=50, high=300, committed=10),
        PartitionOffsets(3, low=0, high=0, committed=None),
    ]
    assert plan_spans(offsets, 60) == [Span(0, 90, 100), Span(1, 20, 45), Span(2, 50, 75), Span(3, 0, 0)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=8), st.integers(1, 60))
def test_a_batch_is_never_too_large_and_always_moves_on(bounds, most):
    offsets = [PartitionOffsets(index, 0, low + lag, low) for index, (low, lag) in enumerate(bounds)]
    taken = sum(span.end - span.start for span in plan_spans(offsets, most))
    assert taken == min(most, sum(found.lag for found in offsets))


def test_a_group_that_is_ahead_of_its_topic_is_an_error():
    with pytest.raises(ConfigurationError, match="stands at offset 9 of partition 0, which ends at 5"):
        plan_spans([PartitionOffsets(0, 0, 5, 9)], 10)


def test_spans_are_cut_and_always_read_again():
    units = units_of("docs", [Span(0, 5, 15), Span(1, 7, 7)], 4)
    assert [(unit.uri, unit.start, unit.end) for unit in units] == [
        ("docs/0", 5, 9),
        ("docs/0", 9, 13),
        ("docs/0", 13, 15),
    ]
    assert {unit.version for unit in units} == {""}
    assert json.loads(cursor_of([Span(0, 5, 15), Span(1, 7, 7)])) == {"0": 15, "1": 7}


def test_a_settlement_holds_ends_and_one_letter_per_message():
    units = units_of("docs", [Span(0, 5, 15), Span(1, 7, 9)], 4)
    rejected = [
        _reject("docs/0@14"),
        _reject("docs/0@14"),
        _reject("docs/1", RejectionReason.DUPLICATE_ID, "a"),
        _reject("docs/0@4"),
        _reject("docs/0@15"),
        _reject("docs/7@1"),
    ]
    settled = settle(units, rejected)
    assert settled.ends == {0: 15, 1: 9}
    assert [(letter.span, letter.doc_id) for letter in settled.letters] == [
        (Span(0, 14, 15), None),
        (Span(1, 7, 9), "a"),
    ]


def test_an_unread_range_holds_back_its_partition_and_its_letters():
    units = units_of("docs", [Span(0, 5, 15), Span(1, 7, 9)], 4)
    rejected = [_reject("docs/0@6"), _reject("docs/0", RejectionReason.UNREADABLE), _reject("docs/1@7")]
    settled = settle(units, rejected)
    assert settled.ends == {1: 9}
    assert [letter.span for letter in settled.letters] == [Span(1, 7, 8)]


class _Topic:
    """Stands for a `TopicClient`."""

    address, settings = ADDRESS, KafkaSettings()

    def __init__(self, messages):
        self.held, self.spans = messages, []

    def has_topic(self, topic):
        return True

    def messages(self, span):
        self.spans.append(span)
        return [message for message in self.held if span.start <= message.offset() < span.end]


class _Producer:
    """Stands for a broker that refuses values of more than ten bytes, or everything."""

    def __init__(self, config):
        self.taken, self.waiting, self.code = [], [], KafkaError.MSG_SIZE_TOO_LARGE
        type(self).last = self

    def produce(self, topic, value, key, *, headers, on_delivery):
        self.waiting.append((value, key, headers, on_delivery))

    def poll(self, timeout_s):
        return 0

    def flush(self, timeout_s):
        while self.waiting:
            value, key, headers, on_delivery = self.waiting.pop(0)
            is_refused = self.code != KafkaError.MSG_SIZE_TOO_LARGE or len(value or b"") > 10
            on_delivery(KafkaError(self.code) if is_refused else None, None)
            if not is_refused:
                self.taken.append((key, value, dict(headers)))
        return 0


def _letter(offset):
    return DeadLetter(Span(3, offset, offset + 1), None, _reject(f"docs/3@{offset}"))


def test_a_letter_that_is_too_large_goes_without_its_value(monkeypatch):
    monkeypatch.setattr(dead_letters, "Producer", _Producer)
    topic = _Topic([_message(offset=1, value=b"x" * 11), _message(offset=2), _message(offset=900)])
    send_dead_letters(topic, [_letter(2), _letter(900), _letter(1), _letter(3)])
    assert topic.spans == [Span(3, 1, 4), Span(3, 900, 901)]
    taken = [
        (headers["forebay-offset"], value, headers.get("forebay-value-left-out-bytes"))
        for _, value, headers in _Producer.last.taken
    ]
    # 3 is gone from the topic.
    assert sorted(taken) == [("1", None, "11"), ("2", b"{}", None), ("3", None, None), ("900", b"{}", None)]


def test_a_refused_letter_is_an_error(monkeypatch):
    monkeypatch.setattr(dead_letters, "Producer", _Producer)
    monkeypatch.setattr(_Producer, "poll", lambda self, _: setattr(self, "code", KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(ConfigurationError, match=r"rejected messages could not be sent.*nothing was committed"):
        send_dead_letters(_Topic([_message(offset=1)]), [_letter(1)])
