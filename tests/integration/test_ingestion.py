"""What a run takes of a source of which a part can't be read."""

import json
import os

import pytest

from forebay.settings import CorpusSettings
from forebay.sources import formats
from forebay.sources.folder import FolderSource
from spark_jobs import broadcasts
from spark_jobs.parse_documents.ingestion import Ingestion
from spark_jobs.parse_documents.reading import plan_reading
from spark_jobs.parse_documents.tables import DocumentTables
from spark_jobs.parse_documents.transforms import unread_units, without_documents_of
from spark_jobs.pipes import JobOrders

pytestmark = pytest.mark.integration


class _Corpus:
    """Runs over a folder, as the job makes them."""

    def __init__(self, spark, folder):
        self.folder = folder / "source"
        self.folder.mkdir()
        self._spark, self._tables, self._runs = spark, folder / "tables", 0

    def run(self, between=lambda: None):
        """List, let `between` happen, read, publish; gives counts, texts by id, and rejects."""
        self._runs += 1
        source, orders = FolderSource(self.folder), JobOrders(f"run {self._runs}", (0,), 1, ())
        tables = DocumentTables.prepare(self._tables, orders.run_id)
        listing = source.changes()
        plan = plan_reading(listing, tables.units, source.name, "p")
        between()
        ingestion = Ingestion(self._spark, tables, orders, CorpusSettings(), "p")
        counts = ingestion.write(source, plan, listing)
        for table in (tables.documents, tables.quarantine):
            table.publish()
        ingestion.settle(source, plan, listing)
        rows = tables.documents.published().to_table(columns=["doc_id", "text"]).to_pylist()
        rejects = tables.quarantine.published().to_table(columns=["unit", "reason"]).to_pylist()
        return (
            counts.by_name(),
            {row["doc_id"]: row["text"] for row in rows},
            {(row["unit"], row["reason"]) for row in rejects},
        )


@pytest.fixture(params=[0, 100_000])
def corpus(spark, tmp_path, monkeypatch, request):
    """A corpus none of whose frames are few rows, or all."""
    monkeypatch.setattr(broadcasts, "FEW_ROWS", request.param)
    return _Corpus(spark, tmp_path)


def _counts(**some):
    return dict.fromkeys(("new", "changed", "unchanged", "deleted", "rejected"), 0) | some


def test_what_can_not_be_read_keeps_the_documents_that_it_had(corpus):
    for name in "abc":
        (corpus.folder / f"{name}.txt").write_text(f"The first text of {name}.")
    corpus.run()
    for name in "ab":
        (corpus.folder / f"{name}.txt").write_text(f"Another text of {name}.")
    (corpus.folder / "c.txt").unlink()
    (corpus.folder / "new.txt").write_text("A new text.")

    def replace():
        for name in ("b.txt", "new.txt"):
            (corpus.folder / name).unlink()
            os.mkfifo(corpus.folder / name)

    counts, texts, rejects = corpus.run(replace)
    assert texts == {"a.txt": "Another text of a.", "b.txt": "The first text of b."}
    assert rejects == {("b.txt", "changed_while_read"), ("new.txt", "changed_while_read")}
    assert counts == _counts(changed=1, unchanged=1, deleted=1, rejected=2)

    for name in ("b.txt", "new.txt"):
        (corpus.folder / name).unlink()
        (corpus.folder / name).write_text(f"What {name} is now.")
    counts, texts, rejects = corpus.run()
    assert texts == {"a.txt": "Another text of a.", "b.txt": "What b.txt is now.", "new.txt": "What new.txt is now."}
    assert rejects == set()
    assert counts == _counts(new=1, changed=1, unchanged=1)


def test_of_a_file_that_changes_between_its_ranges_nothing_is_taken(corpus, monkeypatch):
    monkeypatch.setattr(formats, "_RANGE_BYTES", 100)
    rows, path = [{"id": f"d{number}", "text": f"The first text of {number}."} for number in range(20)], corpus.folder
    _write(path / "rows.jsonl", rows)
    _, before, _ = corpus.run()
    assert len(before) == 20
    _write(path / "rows.jsonl", [row | {"text": f"Another {row['text']}"} for row in rows])
    (path / "moved.jsonl").write_text('{"id": "d3", "text": "The third, in another place."}')
    _, texts, rejects = corpus.run(lambda: _write(path / "rows.jsonl", rows[::-1]))
    assert texts == before
    assert rejects == {("rows.jsonl", "changed_while_read"), ("moved.jsonl", "duplicate_id")}
    (path / "moved.jsonl").unlink()
    _, texts, rejects = corpus.run()
    assert (len(texts), rejects) == (20, set())


def test_what_was_read_of_a_unit_before_it_failed_is_left_out_and_its_rejects_stay(spark):
    rows = [
        ("rows.parquet", "a", None),
        ("rows.parquet", None, "blank_text"),
        ("rows.parquet", None, "changed_while_read"),
        ("page", None, "gone"),
        ("page", "b", None),
        ("share", None, "unreadable"),
    ]
    parsed = spark.createDataFrame(rows, "unit string, doc_id string, reason string")
    assert unread_units(parsed) == {"rows.parquet", "share"}
    kept = without_documents_of(parsed, unread_units(parsed)).collect()
    assert sorted(map(tuple, kept), key=rows.index) == rows[1:]


def _write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
