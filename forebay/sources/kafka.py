"""A Kafka topic: its messages since the consumer group's committed offsets.

The effect on the tables is exactly once: offsets are committed only after the run that read them has published, and a
run that died before reads the same messages again, whose documents are then found unchanged.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import KafkaException

from forebay.documents import RejectionReason
from forebay.settings import KafkaSettings
from forebay.sources.contract import Changes, ReadUnit, Record, Rejected, UnreadableError
from forebay.sources.dead_letters import send_dead_letters
from forebay.sources.kafka_address import KafkaAddress
from forebay.sources.kafka_client import topic_client
from forebay.sources.kafka_messages import record_of
from forebay.sources.kafka_ranges import Span, cursor_of, plan_spans, settle, units_of

__all__ = ["KafkaSource"]


class KafkaSource:
    """One topic, read for one consumer group that nobody else reads for (see `forebay.sources.contract`)."""

    def __init__(self, address: KafkaAddress, settings: KafkaSettings) -> None:
        self._address = address
        self._settings = settings

    @property
    def name(self) -> str:
        """Brokers, topic and group, in one way of writing."""
        return self._address.name

    def changes(self, cursor: str | None = None) -> Changes:
        """List what the group hasn't committed yet, at most `batch_messages` of it; the group knows, not the cursor.

        Raises:
            ConfigurationError: a broker can't be reached, there is no such topic, or it was made anew.
        """
        with topic_client(self._address, self._settings) as client:
            spans = plan_spans(client.offsets(), self._settings.batch_messages)
        units = units_of(self._address.topic, spans, self._settings.range_messages)
        return Changes(units, cursor_of(spans), is_snapshot=False)

    def lag(self) -> int:
        """Count the offsets that the group hasn't committed yet.

        Raises:
            ConfigurationError: a broker can't be reached, or there is no such topic.
        """
        with topic_client(self._address, self._settings) as client:
            return sum(found.lag for found in client.offsets())

    def read(self, unit: ReadUnit, max_bytes: int) -> Iterator[Record | Rejected]:
        """Read a range, without joining the group.

        Raises:
            UnreadableError: the range is gone, or the brokers don't answer for `timeout_s`.
            ConfigurationError: the connection can't be set up on this machine.
        """
        span = Span(int(unit.address), unit.start, unit.end)
        with topic_client(self._address, self._settings) as client:
            try:
                for message in client.messages(span):
                    yield record_of(message, max_bytes)
            except KafkaException as exc:
                raise UnreadableError(RejectionReason.UNREADABLE, f"Kafka says: {exc}") from exc

    def acknowledge(self, changes: Changes, rejected: Sequence[Rejected]) -> None:
        """Send what was rejected to the dead-letter topic, then commit the offsets; never backwards.

        A partition of which a range could not be read keeps its offset, so that the next run reads it again.

        Raises:
            ConfigurationError: a broker can't be reached, or refuses letters or offsets; nothing is lost, the next
                run reads the same messages again.
            UnreadableError: a rejected message can't be read again; as above.
        """
        settlement = settle(changes.units, rejected)
        if not settlement.ends:
            return
        with topic_client(self._address, self._settings) as client:
            if settlement.letters:
                send_dead_letters(client, settlement.letters)
            client.commit_forward(settlement.ends)

    def __getstate__(self) -> dict[str, Any]:
        # The password doesn't travel to the tasks: their environment or their file has it.
        return {"address": self._address, "settings": self._settings.model_copy(update={"sasl_password": None})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        password = KafkaSettings().sasl_password
        self.__init__(state["address"], state["settings"].model_copy(update={"sasl_password": password}))
