"""Which units of a source must be read, and the account of those that were."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from forebay.documents import PARSER_VERSION, UNITS, RejectionReason, content_hash
from forebay.settings import CorpusSettings
from forebay.sources.contract import Changes
from forebay.sources.unit_list import UnitList
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

_KNOWN = pa.schema([(name, pa.large_string()) for name in ("uri", "version", "parser")])


def parser_fingerprint(corpus: CorpusSettings) -> str:
    """Name a way of parsing; units that were parsed in another way are read again."""
    return content_hash(PARSER_VERSION, str(corpus.max_document_bytes))[:12]


@dataclass(frozen=True)
class ReadingPlan:
    """What a run does with one source; in columns, for there may be millions of units."""

    units: UnitList
    """Units to read."""
    kept: pa.ChunkedArray
    """Names of the units that are as they were, so that their documents and rejects stay, each once."""
    gone: pa.ChunkedArray
    """Names of the units that the source no longer has."""

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not len(self.units) and not len(self.gone)

    @property
    def outdated(self) -> pa.ChunkedArray:
        """Names of the units of which nothing that is held may stay as it is."""
        return pa.chunked_array([*self.units.table["uri"].chunks, *self.gone.chunks], pa.large_string())

    def kept_and(self, others: Collection[str]) -> pa.ChunkedArray:
        """Give `kept` and the names of other units."""
        return pa.chunked_array([*self.kept.chunks, sorted(others)], pa.large_string())


def plan_reading(changes: Changes, units: Table, source: str, parser: str) -> ReadingPlan:
    """Compare a listing with the account of the units that were read."""
    listed = UnitList.of(changes.units)
    known = _known(units, source) if changes.is_snapshot else _KNOWN.empty_table()
    if not known.num_rows:
        return ReadingPlan(listed, kept=known["uri"], gone=known["uri"])
    uris = listed.table["uri"]
    places = _call("index_in", uris, known["uri"])
    is_same = _call("equal", known["version"].take(places), listed.table["version"])
    is_parsed = _call("equal", known["parser"].take(places), parser)
    is_kept = _call("and", is_same, is_parsed).fill_null(False)
    return ReadingPlan(
        units=UnitList(listed.table.filter(_call("invert", is_kept))),
        kept=pa.chunked_array([uris.filter(is_kept).unique()]),
        gone=known["uri"].filter(_call("invert", _call("is_in", known["uri"], uris))),
    )


def _known(units: Table, source: str) -> pa.Table:
    dataset = units.published()
    if dataset is None:
        return _KNOWN.empty_table()
    return dataset.to_table(columns=_KNOWN.names, filter=pc.field("source") == source).cast(_KNOWN)


def record_units(units: Table, plan: ReadingPlan, retried: Collection[str], *, source: str, parser: str) -> None:
    """Write down what was read; `retried` names the units that the next run must read again."""
    units.delete_keys("uri", plan.outdated, where=f"source = {sql_text(source)}")
    run_id = units.commit_properties["forebay.run_id"]

    def rows() -> Iterator[pa.RecordBatch]:
        last = ""
        for batch in plan.units.table.select(["uri", "version"]).to_batches():
            read: dict[str, str] = dict(zip(*(column.to_pylist() for column in batch.columns), strict=True))
            # The ranges of a file, which follow each other, share its name and its version.
            last, ended = next(reversed(read), last), last
            read.pop(ended, "")
            versions = ["" if uri in retried else version for uri, version in read.items()]
            columns = [[source] * len(read), list(read), versions, [parser] * len(read), [run_id] * len(read)]
            yield pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=UNITS)

    if len(plan.units):
        units.append(pa.RecordBatchReader.from_batches(UNITS, rows()))
    units.publish()


def _call(function: str, *arguments: Any) -> Any:
    """Call a function of Arrow, whose own names aren't typed."""
    *first, last = arguments
    if function in ("index_in", "is_in"):
        return pc.call_function(function, first, pc.SetLookupOptions(value_set=last))
    return pc.call_function(function, list(arguments))
