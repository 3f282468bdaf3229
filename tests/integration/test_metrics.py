import pyarrow as pa
import pytest

from forebay.tables import Table
from spark_jobs.metrics import counted_changes, delete_outdated, duplicate_keys

pytestmark = pytest.mark.integration


def test_changes_are_counted_and_rows_of_changed_and_deleted_documents_go(spark, tmp_path):
    rows = [("a", "new"), ("b", "changed"), ("c", "unchanged"), ("d", "deleted"), ("e", "changed")]
    changes = spark.createDataFrame(rows, "doc_id string, change string")
    counts = counted_changes(changes)
    assert counts == {"new": 1, "changed": 2, "unchanged": 1, "deleted": 1}
    table = Table(tmp_path / "t.lance", pa.schema([("doc_id", pa.string())]))
    table.prepare("run")
    table.append(pa.table({"doc_id": ["b", "b", "c", "d", "e", "f"]}))
    delete_outdated(changes, counts, table)
    assert table.newest().to_table()["doc_id"].to_pylist() == ["c", "f"]


def test_no_documents_no_changes(spark):
    counts = counted_changes(spark.createDataFrame([], "doc_id string, change string"))
    assert counts["new"] == counts["changed"] == 0


def test_keys_that_stand_twice_are_counted_once(spark):
    rows = [("a",), ("b",), ("a",), ("a",), ("c",), ("c",)]
    assert duplicate_keys(spark.createDataFrame(rows, "key string"), "key") == 2
