import os

import lance
import psutil
import pyarrow as pa
import pytest
from pyspark.errors import PythonException

from forebay.tables import Table
from spark_jobs import lance_frames
from spark_jobs.lance_frames import append_lance, delete_lance_keys, read_lance, read_lance_keys, replace_lance

_SCHEMA = pa.schema([("key", pa.string()), ("number", pa.int64()), ("vector", pa.list_(pa.float32(), 2))])


@pytest.fixture
def table(tmp_path):
    table = Table(tmp_path / "t.lance", _SCHEMA)
    table.prepare("run 7")
    return table


@pytest.fixture
def uri(table):
    return table.uri


def _rows(first, last):
    return [{"key": f"k{n}", "number": n, "vector": [n, 0.5]} for n in range(first, last)]


def _write(uri, *ends):
    """One fragment from each end to the next."""
    for first, last in zip((0, *ends), ends, strict=False):
        lance.write_dataset(pa.Table.from_pylist(_rows(first, last), _SCHEMA), uri, mode="append")


def _numbers(frame):
    return sorted(row["number"] for row in frame.collect())


def test_rows_of_many_tasks_come_in_one_commit_with_the_runs_id(spark, table):
    frame = spark.createDataFrame(pa.Table.from_pylist(_rows(0, 40))).repartition(4)
    append_lance(frame, table)
    newest = table.newest()
    assert newest.version == 2
    assert newest.read_transaction(2).transaction_properties["forebay.run_id"] == "run 7"
    assert newest.schema == _SCHEMA
    assert sorted(newest.to_table().to_pylist(), key=lambda row: row["number"]) == _rows(0, 40)


def test_no_rows_are_no_commit(spark, table):
    append_lance(read_lance(spark, table.uri), table)
    assert table.newest().version == 1


def test_a_failed_task_leaves_the_table_as_it_was(spark, table):
    _write(table.uri, 5)

    def fail(batches):
        yield next(batches)
        raise RuntimeError("a task fails")

    frame = read_lance(spark, table.uri)
    with pytest.raises(PythonException, match="a task fails"):
        append_lance(frame.mapInArrow(fail, frame.schema), table)
    assert table.newest().version == 2
    assert table.count() == 5


def test_a_frame_is_of_the_version_at_its_making(spark, uri):
    _write(uri, 5)
    frame = read_lance(spark, uri, columns=["number"])
    _write(uri, 6)
    lance.dataset(uri).delete("number = 2")
    assert _numbers(frame) == [0, 1, 2, 3, 4]
    assert _numbers(read_lance(spark, uri, version=1)) == []


# A fragment of these takes about 1,000 bytes.
@pytest.mark.parametrize(("limit", "value"), [("_TASK_ROWS", 10), ("_TASK_BYTES", 1900)])
def test_small_fragments_share_a_task_and_every_row_is_read_once(spark, uri, monkeypatch, limit, value):
    monkeypatch.setattr(lance_frames, limit, value)
    _write(uri, 4, 8, 12, 30, 31, 33)
    frame = read_lance(spark, uri)
    assert frame.rdd.getNumPartitions() == 3
    assert _numbers(frame) == list(range(33))


def test_columns_and_condition_are_lances(spark, uri):
    _write(uri, 9)
    frame = read_lance(spark, uri, columns=["number"], where="key IN ('k3', 'k7')")
    assert frame.columns == ["number"]
    assert _numbers(frame) == [3, 7]


@pytest.mark.parametrize("looked_up", [0, 100])
def test_rows_are_found_by_key_whether_looked_up_or_joined(spark, uri, monkeypatch, looked_up):
    monkeypatch.setattr(lance_frames, "_LOOKED_UP_KEYS", looked_up)
    _write(uri, 9)
    keys = spark.createDataFrame(pa.table({"key": ["k2", "k5", "gone"]}))
    assert _numbers(read_lance_keys(spark, uri, keys)) == [2, 5]
    assert _numbers(read_lance_keys(spark, uri, keys, where="number > 2")) == [5]
    assert _numbers(read_lance_keys(spark, uri, keys.where("key = 'gone'"))) == []


@pytest.mark.parametrize("looked_up", [0, 100])
def test_rows_are_deleted_by_key_whether_looked_up_or_joined(spark, table, monkeypatch, looked_up):
    monkeypatch.setattr(lance_frames, "_LOOKED_UP_KEYS", looked_up)
    _write(table.uri, 4, 8, 12)
    table.delete("key = 'k9'")
    keys = [*(f"k{number}" for number in (0, 4, 5, 6, 7, 9, 10)), "gone"]
    version = table.newest().version
    delete_lance_keys(spark.createDataFrame(pa.table({"key": keys})), len(keys), table)
    assert _numbers(read_lance(spark, table.uri)) == [1, 2, 3, 8, 11]
    newest = table.newest()
    assert newest.version == version + 1
    assert newest.read_transaction(newest.version).transaction_properties["forebay.run_id"] == "run 7"
    # The fragment that has lost all rows is gone.
    assert len(newest.get_fragments()) == 2
    delete_lance_keys(spark.createDataFrame(pa.table({"key": ["gone"]})), 1, table)
    delete_lance_keys(spark.createDataFrame([], "key string"), 0, table)
    assert table.newest().version == version + 1


def test_other_rows_take_the_place_of_all_in_one_commit(spark, table):
    _write(table.uri, 4, 8)
    version = table.newest().version
    replace_lance(read_lance(spark, table.uri, where="number > 5"), table)
    newest = table.newest()
    assert newest.to_table().to_pylist() == _rows(6, 8)
    assert (newest.version, newest.schema) == (version + 1, _SCHEMA)
    assert newest.read_transaction(newest.version).transaction_properties["forebay.run_id"] == "run 7"
    replace_lance(read_lance(spark, table.uri, where="false"), table)
    assert table.count() == 0


def test_large_rows_are_read_a_few_at_a_time(spark, tmp_path):
    schema = pa.schema([("text", pa.string())])
    batches = (pa.RecordBatch.from_pydict({"text": [os.urandom(2**20).hex()]}, schema) for _ in range(200))
    uri = str(tmp_path / "large.lance")
    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches), uri)
    before = _largest_worker()

    assert read_lance(spark, uri).selectExpr("sum(length(text)) AS length").collect()[0].length == 200 * 2**21
    # All rows are 420 MB.
    assert _largest_worker() < before + 200e6


def _largest_worker():
    """Most memory, in bytes, that one of Spark's workers has ever had."""
    workers = [process for process in psutil.Process().children(recursive=True) if "python" in process.name()]
    return max((_peak_bytes(process.pid) for process in workers), default=0)


def _peak_bytes(pid):
    with open(f"/proc/{pid}/status") as lines:
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
