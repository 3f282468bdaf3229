"""Offsets: which ranges a run reads, and how far its consumer group may move afterwards."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forebay.errors import ConfigurationError
from forebay.sources.contract import ReadUnit, Rejected

__all__ = ["DeadLetter", "PartitionOffsets", "Settlement", "Span", "cursor_of", "plan_spans", "settle", "units_of"]


@dataclass(frozen=True)
class PartitionOffsets:
    """Where a partition begins and ends, and how far the consumer group is."""

    partition: int
    low: int
    """Offset of the oldest message that is still kept."""
    high: int
    """The one after the newest message that may be read."""
    committed: int | None
    """The one after the last message that the group has taken; None where it has taken none."""

    @property
    def start(self) -> int:
        """Where to go on; messages that were removed before they were read are skipped."""
        return self.low if self.committed is None else max(self.committed, self.low)

    @property
    def lag(self) -> int:
        """Offsets that the group has still to take."""
        return max(0, self.high - self.start)


@dataclass(frozen=True)
class Span:
    """The part of a partition that one run reads."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True)
class DeadLetter:
    """A message that was rejected."""

    span: Span
    """Where it lies: its one offset, or what the run read of its partition."""
    doc_id: str | None
    """Which message of the span it is, the last one of this id; None where the span is its one offset."""
    rejected: Rejected


@dataclass(frozen=True)
class Settlement:
    """What is to be done after a run: letters to send, then offsets to commit."""

    ends: dict[int, int]
    """By partition, the offset to commit."""
    letters: list[DeadLetter]


def plan_spans(offsets: Iterable[PartitionOffsets], max_messages: int) -> list[Span]:
    """Share `max_messages` between the partitions; what one doesn't need goes to the others.

    Raises:
        ConfigurationError: the group has committed more than a partition holds.
    """
    ordered = sorted(offsets, key=lambda found: found.lag)
    spans: list[Span] = []
    left = max_messages
    for index, found in enumerate(ordered):
        if found.start > found.high:
            raise ConfigurationError(
                f"the consumer group stands at offset {found.start} of partition {found.partition}, which ends at "
                f"{found.high}: the topic was made anew; set the group's offsets back, or name another group."
            )
        # Rounded up, so that a batch smaller than the number of partitions moves on too.
        share = min(found.lag, -(-left // (len(ordered) - index)))
        left -= share
        spans.append(Span(found.partition, found.start, found.start + share))
    return sorted(spans, key=lambda span: span.partition)


def units_of(topic: str, spans: Iterable[Span], max_messages: int) -> list[ReadUnit]:
    """Cut spans into ranges of at most `max_messages` offsets.

    A range's version is empty, so that it is read again until its offsets are committed.
    """
    return [
        ReadUnit(
            uri=f"{topic}/{span.partition}",
            format="row",
            version="",
            address=str(span.partition).encode(),
            start=start,
            end=min(start + max_messages, span.end),
        )
        for span in spans
        for start in range(span.start, span.end, max_messages)
    ]


def cursor_of(spans: Iterable[Span]) -> str:
    """Write down how far a run reads; the same again once nothing is left to read."""
    return json.dumps({str(span.partition): span.end for span in spans})


def settle(units: Sequence[ReadUnit], rejected: Iterable[Rejected]) -> Settlement:
    """Decide how far the group moves, and what goes to the dead-letter topic before.

    A reject that names neither a message nor a document stands for a range that could not be read. Its partition
    stays where it is, so that the next run reads it again: to commit past it would lose its messages.

    Args:
        units: The ranges of the run.
        rejected: Its rejects, by the place `topic/partition@offset`, or by the partition and the document's id.
    """
    spans = _spans_by_uri(units)
    letters: dict[tuple[int, int | str], DeadLetter] = {}
    unread: set[int] = set()
    for reject in rejected:
        uri, _, offset = reject.uri.partition("@")
        span = spans.get(uri)
        if span is None:
            continue
        if not offset.isdecimal():
            if reject.doc_id is None:
                unread.add(span.partition)
            else:
                letters[span.partition, reject.doc_id] = DeadLetter(span, reject.doc_id, reject)
        elif span.start <= int(offset) < span.end:
            place = Span(span.partition, int(offset), int(offset) + 1)
            letters[span.partition, place.start] = DeadLetter(place, None, reject)
    ends = {span.partition: span.end for span in spans.values() if span.partition not in unread}
    return Settlement(ends, [letter for letter in letters.values() if letter.span.partition in ends])


def _spans_by_uri(units: Sequence[ReadUnit]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for unit in units:
        known = spans.get(unit.uri, Span(int(unit.address), unit.start, unit.end))
        spans[unit.uri] = Span(known.partition, min(known.start, unit.start), max(known.end, unit.end))
    return spans
