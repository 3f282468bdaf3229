"""The name of a Kafka source: `kafka://host:9092,host2:9092/topic?group=forebay`."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from forebay.errors import ConfigurationError

__all__ = ["KafkaAddress"]

_DEFAULT_GROUP = "forebay"
# What Kafka itself accepts (org.apache.kafka.common.internals.Topic).
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
_BROKER = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_FORM = "kafka://host:9092,host2:9092/topic?group=name"


@dataclass(frozen=True)
class KafkaAddress:
    """Which topic is read, through which brokers, and for which consumer group."""

    brokers: tuple[str, ...]
    """`host` or `host:port` of the brokers that are asked first, sorted."""
    topic: str
    group: str = _DEFAULT_GROUP
    """Consumer group whose committed offsets say what was already taken."""

    @property
    def servers(self) -> str:
        """The brokers, as librdkafka wants them."""
        return ",".join(self.brokers)

    @property
    def name(self) -> str:
        """Identity of the source; equal for all ways to write the same address."""
        return f"kafka://{self.servers}/{self.topic}?group={quote(self.group, safe='')}"

    @classmethod
    def parse(cls, name: str) -> "KafkaAddress":
        """Take a source's name apart.

        Raises:
            ConfigurationError: it isn't of the form above. What it says instead is not repeated: it may be a password.
        """
        try:
            parts = urlsplit(name)
            fields = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError as exc:
            raise _malformed("it can't be taken apart") from exc
        if "@" in parts.netloc or parts.fragment or fields.keys() - {"group"}:
            raise _malformed("it holds more than brokers, topic and group; security settings are FOREBAY_KAFKA_*")
        brokers = tuple(sorted({broker.strip() for broker in parts.netloc.split(",")}))
        if not all(_BROKER.fullmatch(broker) for broker in brokers):
            raise _malformed("its brokers must be host or host:port, divided by commas")
        topic, group = parts.path.removeprefix("/"), fields.get("group", _DEFAULT_GROUP)
        if not _TOPIC.fullmatch(topic):
            raise _malformed("its topic must be 1 to 249 of the characters A-Z a-z 0-9 . _ -")
        if not group:
            raise _malformed("its group is empty")
        return cls(brokers, topic, group)


def _malformed(problem: str) -> ConfigurationError:
    return ConfigurationError(f"the name of a Kafka source is wrong: {problem}; it must look like {_FORM}.")
