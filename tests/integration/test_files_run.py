"""The whole pipeline over every file of `tests/data/files`, and over names and contents that Git would not keep."""

import json
import os
import shutil

import pytest

from forebay.sources.names import printable
from forebay.tables import chunk_table, document_table, duplicate_table, quarantine_table
from tests.pipeline import ROOT, Pipeline

pytestmark = pytest.mark.integration

_FILES = ROOT / "tests" / "data" / "files"
_EXPECTED = json.loads((_FILES / "EXPECTED.json").read_text("utf-8"))
# Their rows have the ids of those in `rows.jsonl`, which comes first.
_SAME_IDS = ("rows.ndjson", "rows.parquet")
# Each would fail a check, and so the run, if nobody minded it.
_ODD = {
    b"two\nlines.txt": (b"The weir is inspected after every flood.", None),
    b"no utf-8 \xff.txt": (b"The surge tank is emptied in May.", None),
    b"\xff" * 250 + b".txt": (b"The bulkhead gate is lowered by a crane.", None),
    b"heading.md": (b"# Stoplogs and their storage\n", None),
    b"page.md": ("\u200b\n\n# Draft tube\n\nIt slows the water down.\n".encode(), None),
    b"invisible.txt": ("\u200b\ufeff\u0301\ufffd".encode(), "blank_text"),
    b"runs.txt": (b"".join(b"sluice" + b" " * length for length in range(1200, 0, -1)), None),
}


def test_good_files_are_found_bad_ones_are_in_quarantine_and_the_run_succeeds(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(_FILES, source)
    (source / "EXPECTED.json").unlink()
    (source / "folder").mkdir()
    (source / "folder" / "up").symlink_to(source)
    for name, (data, _) in _ODD.items():
        with open(os.path.join(os.fsencode(source), name), "wb") as stream:
            stream.write(data)
    pipeline = Pipeline(source, tmp_path / "data")
    succeeded, output = pipeline.run(FOREBAY_CORPUS_MAX_REJECTED_SHARE="0.7")
    assert succeeded, output
    expected = {name: outcome.get("rejected") for name, outcome in _EXPECTED.items()}
    expected |= dict.fromkeys(_SAME_IDS, "duplicate_id")
    expected |= {printable(name): reason for name, (_, reason) in _ODD.items()}
    tables = pipeline.paths.tables
    rejects = quarantine_table(tables).published().to_table(columns=["unit", "reason"]).to_pylist()
    documents = document_table(tables).published().to_table(columns=["doc_id", "uri"]).to_pylist()
    assert {(row["unit"], row["reason"]) for row in rejects} == {item for item in expected.items() if item[1]}
    assert {row["uri"] for row in documents} == {name for name, reason in expected.items() if reason is None}
    duplicates = set(duplicate_table(tables).published().to_table()["doc_id"].to_pylist())
    searched = set(chunk_table(tables).published().to_table(columns=["doc_id"])["doc_id"].to_pylist())
    assert searched == {row["doc_id"] for row in documents} - duplicates
    assert pipeline.release.documents == len(documents)
