"""Which units of a source must be read, and the account of those that were."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from forebay.documents import PARSER_VERSION, UNITS, RejectionReason, content_hash
from forebay.settings import CorpusSettings
from forebay.sources.contract import Changes, ReadUnit
from forebay.tables import Table, sql_text

__all__ = ["RETRIED", "UNREAD", "ReadingPlan", "parser_fingerprint", "plan_reading", "record_units"]

UNREAD = frozenset({RejectionReason.UNREADABLE, RejectionReason.CHANGED_WHILE_READ})
"""Reasons that tell nothing of what a unit holds now: until it can be read, its documents stay as they were."""

RETRIED = UNREAD | frozenset(
    {
        RejectionReason.GONE,
        RejectionReason.PARSER_TIMED_OUT,
        RejectionReason.PARSER_CRASHED,
        # The document that holds the id may go.
        RejectionReason.DUPLICATE_ID,
    }
)
"""Reasons that may pass: a unit with such a reject is read again by the next run, changed or not."""


def parser_fingerprint(corpus: CorpusSettings) -> str:
    """Name a way of parsing; units that were parsed in another way are read again."""
    return content_hash(PARSER_VERSION, str(corpus.max_document_bytes))[:12]


@dataclass(frozen=True)
class ReadingPlan:
    """What a run does with one source."""

    units: list[ReadUnit]
    """Units to read."""
    kept: frozenset[str]
    """Units that are as they were, so that their documents and rejects stay."""
    gone: frozenset[str]
    """Units that the source no longer has."""

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.units and not self.gone


def plan_reading(changes: Changes, units: Table, source: str, parser: str) -> ReadingPlan:
    """Compare a listing with the account of the units that were read."""
    if not changes.is_snapshot:
        return ReadingPlan(list(changes.units), frozenset(), frozenset())
    known = _known(units, source, parser)
    kept = frozenset(unit.uri for unit in changes.units if known.get(unit.uri) == unit.version)
    listed = {unit.uri for unit in changes.units}
    return ReadingPlan(
        units=[unit for unit in changes.units if unit.uri not in kept],
        kept=kept,
        gone=frozenset(known.keys() - listed),
    )


def _known(units: Table, source: str, parser: str) -> dict[str, str]:
    dataset = units.published()
    if dataset is None:
        return {}
    found = dataset.to_table(columns=["uri", "version", "parser"], filter=pc.field("source") == source)
    rows = zip(*(found[name].to_pylist() for name in ("uri", "version", "parser")), strict=True)
    return {uri: version if how == parser else "" for uri, version, how in rows}


def record_units(units: Table, plan: ReadingPlan, retried: Iterable[str], *, source: str, parser: str) -> None:
    """Write down what was read; `retried` names the units that the next run must read again."""
    again = set(retried)
    versions = {unit.uri: "" if unit.uri in again else unit.version for unit in plan.units}
    units.delete_keys("uri", [*versions, *plan.gone], where=f"source = {sql_text(source)}")
    run_id = units.commit_properties["forebay.run_id"]
    count = len(versions)
    columns = [[source] * count, list(versions), list(versions.values()), [parser] * count, [run_id] * count]
    units.append(pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], schema=UNITS))
    units.publish()
