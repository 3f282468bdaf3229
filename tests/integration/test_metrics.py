import pytest

from spark_jobs.metrics import counted_changes, duplicate_keys

pytestmark = pytest.mark.integration


def test_changes_are_counted_and_name_the_documents_whose_rows_go(spark):
    changes = [("a", "new"), ("b", "changed"), ("c", "unchanged"), ("d", "deleted"), ("e", "changed")]
    counts, gone = counted_changes(spark.createDataFrame(changes, "doc_id string, change string"))
    assert counts == {"new": 1, "changed": 2, "unchanged": 1, "deleted": 1}
    assert sorted(gone) == ["b", "d", "e"]


def test_no_documents_no_changes(spark):
    counts, gone = counted_changes(spark.createDataFrame([], "doc_id string, change string"))
    assert counts["new"] == counts["changed"] == 0
    assert gone == []


def test_keys_that_stand_twice_are_counted_once(spark):
    rows = [("a",), ("b",), ("a",), ("a",), ("c",), ("c",)]
    assert duplicate_keys(spark.createDataFrame(rows, "key string"), "key") == 2
