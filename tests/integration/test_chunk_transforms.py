import json

import pytest

from spark_jobs import broadcasts
from spark_jobs.chunk_documents.transforms import searchable_documents

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("few_rows", [0, 100_000])
def test_duplicates_are_left_out_and_stand_in_the_locations_of_what_is_searched(spark, few_rows, monkeypatch):
    monkeypatch.setattr(broadcasts, "FEW_ROWS", few_rows)
    hashes = [(f"d{n}", f"hash {n}") for n in range(5)]
    documents = spark.createDataFrame(hashes, "doc_id string, content_hash string")
    places = spark.createDataFrame(
        [(f"d{n}", "folder", f"{n}.txt") for n in range(5)], "doc_id string, source string, uri string"
    )
    pairs = [("d2", "d1"), ("d4", "d1"), ("d3", "gone")]
    duplicates = spark.createDataFrame(pairs, "doc_id string, canonical_id string")
    rows = searchable_documents(documents, places, duplicates, n_duplicates=3).collect()
    found = {row["doc_id"]: [place["uri"] for place in json.loads(row["locations"])] for row in rows}
    assert found == {"d0": [], "d1": ["2.txt", "4.txt"]}
    versions = {row["doc_id"]: row["version"] for row in rows}
    assert versions["d0"] == "hash 0"
    assert versions["d1"] != "hash 1"
