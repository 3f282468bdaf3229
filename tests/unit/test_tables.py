import os

import lance
import pyarrow as pa
import pytest

from forebay.tables import Table, fragment_bytes, rows_per_batch

_SCHEMA = pa.schema([pa.field("key", pa.string(), nullable=False)])


@pytest.fixture
def table(tmp_path):
    made = Table(tmp_path / "t.lance", _SCHEMA)
    made.prepare()
    return made


def _append(table, *keys):
    lance.write_dataset(pa.table({"key": list(keys)}, schema=_SCHEMA), table.uri, mode="append")


def _published(table):
    return sorted(table.published().to_table()["key"].to_pylist())


def test_a_new_table_is_published_empty(table):
    assert _published(table) == []


def test_rows_are_seen_only_after_they_are_published(table):
    _append(table, "a")
    assert _published(table) == []
    table.publish()
    assert _published(table) == ["a"]


def test_prepare_undoes_what_was_not_published(table):
    _append(table, "a")
    table.publish()
    _append(table, "b")
    table.delete_keys("key", ["a"])
    table.prepare()
    assert table.newest().to_table()["key"].to_pylist() == ["a"]
    assert _published(table) == ["a"]


def test_prepare_leaves_a_clean_table_alone(table):
    version = table.published_version()
    table.prepare()
    assert table.newest().version == table.published_version() == version


def test_a_table_whose_first_run_died_before_publishing_starts_empty(tmp_path):
    table = Table(tmp_path / "t.lance", _SCHEMA)
    lance.write_dataset(pa.table({"key": ["a"]}, schema=_SCHEMA), table.uri)
    table.prepare()
    assert _published(table) == []


def test_keys_with_quotes_are_deleted(table):
    _append(table, "it's", "x' OR 'a'='a", "kept")
    table.delete_keys("key", ["it's", "x' OR 'a'='a"])
    assert table.newest().to_table()["key"].to_pylist() == ["kept"]


def test_rows_are_deleted_from_every_fragment_that_holds_some_and_from_no_other(table):
    for keys in ("abc", "de", "fgh", "i"):
        _append(table, *keys)
    table.delete("key = 'b'")
    untouched = {fragment.fragment_id: fragment.metadata for fragment in table.newest().get_fragments()}
    version = table.newest().version
    table.delete_keys("key", "cdeg")
    newest = table.newest()
    assert newest.to_table()["key"].to_pylist() == ["a", "f", "h", "i"]
    assert newest.version == version + 1
    kept = {fragment.fragment_id: fragment.metadata for fragment in newest.get_fragments()}
    assert kept.keys() == {0, 2, 3}
    assert kept[3] == untouched[3]
    table.delete_keys("key", "bcd")
    assert table.newest().version == version + 1


def test_held_keys_are_those_of_the_published_version(table):
    _append(table, "a", "it's")
    table.publish()
    _append(table, "b")
    assert table.held_keys("key", ["a", "b", "it's", "zzz"]) == {"a", "it's"}


def test_many_keys_are_found_and_deleted_at_once(table):
    keys = [f"k{number}" for number in range(6000)]
    _append(table, *keys[:3000])
    _append(table, *keys[3000:])
    table.publish()
    assert table.held_keys("key", [*keys[1:], "none"]) == set(keys[1:])
    before = table.newest().version
    table.delete_keys("key", pa.chunked_array([keys[1:100], keys[100:]], pa.large_string()))
    assert table.newest().to_table()["key"].to_pylist() == ["k0"]
    assert table.newest().version == before + 1
    table.delete_keys("key", keys, where="key <> 'k0'")
    assert table.newest().to_table()["key"].to_pylist() == ["k0"]


def test_tags_move(table):
    first = table.newest().version
    table.set_tag("done", first)
    _append(table, "a")
    table.set_tag("done", table.newest().version)
    assert table.tag("done") == first + 1
    assert table.tag("never") is None
    table.clear_tags("never")
    table.clear_tags("done")
    assert table.tag("done") is None


def test_what_is_said_of_the_published_version_is_still_said_after_prepare(table):
    _append(table, "a")
    table.publish()
    table.set_tag("done", table.published_version())
    table.set_tag("kept-1", table.published_version())
    kept = table.tag("kept-1")
    _append(table, "b")
    table.prepare()
    assert table.tag("done") == table.published_version() == table.newest().version > kept
    assert table.tag("kept-1") == kept


def test_large_rows_are_read_a_few_at_a_time(table):
    _append(table, *(os.urandom(2**20).hex() for _ in range(20)))
    assert 2 <= rows_per_batch(table.newest().get_fragments()) <= 4


def test_small_rows_are_read_by_the_thousand(table):
    _append(table, *map(str, range(3000)))
    fragments = table.newest().get_fragments()
    assert rows_per_batch(fragments) == 1024
    assert sum(map(fragment_bytes, fragments)) == sum(file.stat().st_size for file in table.path.glob("data/*"))


def test_compaction_joins_fragments_and_keeps_what_is_published(table):
    for key in "abc":
        _append(table, key)
    table.publish()
    _append(table, "unpublished")
    table.prepare()
    table.compact(rows_per_fragment=1000)
    assert len(table.published().get_fragments()) == 1
    assert _published(table) == ["a", "b", "c"]
