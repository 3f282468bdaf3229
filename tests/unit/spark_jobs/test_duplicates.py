import pyarrow as pa

from forebay.documents import COMPARISONS, DUPLICATES
from spark_jobs.parse_documents.duplicates import duplicates_of


def _found(*pairs):
    rows = [dict(zip(COMPARISONS.names, (*pair, "run"), strict=True)) for pair in pairs]
    table = duplicates_of(pa.Table.from_pylist(rows, COMPARISONS), "run")
    assert table.schema == DUPLICATES
    return {row["doc_id"]: (row["canonical_id"], row["kind"], round(row["similarity"], 2)) for row in table.to_pylist()}


def test_the_smallest_id_stands_for_a_group():
    assert _found(("b", "c", 0.9, False), ("a", "c", 0.85, False)) == {
        "b": ("a", "near", 0.9),
        "c": ("a", "near", 0.9),
    }


def test_equal_words_are_an_exact_duplicate():
    assert _found(("a", "b", 1.0, True), ("b", "c", 0.9, False))["b"] == ("a", "exact", 1.0)


def test_groups_stay_apart():
    assert _found(("a", "b", 1.0, True), ("x", "y", 1.0, True)) == {
        "b": ("a", "exact", 1.0),
        "y": ("x", "exact", 1.0),
    }


def test_the_order_of_the_pairs_does_not_matter():
    pairs = [("d", "e", 0.9, False), ("a", "b", 0.8, False), ("b", "e", 0.8, False), ("c", "d", 1.0, True)]
    assert _found(*pairs) == _found(*reversed(pairs))
    assert {root for root, _, _ in _found(*pairs).values()} == {"a"}


def test_no_pairs_are_no_duplicates():
    assert _found() == {}
