"""What is sent whole to every executor: never what nobody has counted."""

import os

import pyarrow as pa
import pytest

from forebay.tables import unit_table
from spark_jobs import lance_frames
from spark_jobs.broadcasts import FEW_ROWS, broadcast_few
from spark_jobs.lance_frames import read_lance, read_lance_keys

pytestmark = pytest.mark.integration

# The session has Spark send up to 10 MB.
_TOO_MANY_BYTES = 12 * 2**20


@pytest.fixture
def table(tmp_path):
    made = unit_table(tmp_path)
    made.prepare("run")
    made.append(pa.Table.from_pylist([dict.fromkeys(made.schema.names, "x")], made.schema))
    return made


def _plan(joined, *, is_final=False):
    if is_final:
        joined.collect()
    execution = joined._jdf.queryExecution()
    return execution.executedPlan().toString().partition("== Initial Plan ==")[0]


def test_a_table_is_not_sent_whole_because_spark_can_not_see_its_size(spark, table):
    one, other = read_lance(spark, table.uri), read_lance(spark, table.uri, columns=["uri"])
    assert "Broadcast" not in _plan(one.join(other, "uri", "left"))
    assert "Broadcast" not in _plan(one.join(other.persist(), "uri", "left_anti"))


def test_few_rows_are_sent_whole(spark, table):
    one, other = read_lance(spark, table.uri), read_lance(spark, table.uri, columns=["uri"])
    for at_most, is_sent in ((FEW_ROWS, True), (FEW_ROWS + 1, False)):
        assert ("BroadcastHashJoin" in _plan(one.join(broadcast_few(other, at_most), "uri", "left"))) == is_sent


def test_keys_that_are_too_many_to_look_up_are_sent_to_the_table_and_not_the_table_shuffled(spark, table, monkeypatch):
    monkeypatch.setattr(lance_frames, "_LOOKED_UP_KEYS", 0)
    keys = read_lance(spark, table.uri, columns=["uri"])
    assert "BroadcastHashJoin" in _plan(read_lance_keys(spark, table.uri, keys))


@pytest.mark.parametrize(("n_bytes", "is_sent"), [(1, True), (_TOO_MANY_BYTES, False)])
def test_what_spark_has_measured_to_be_small_is_sent_whole(spark, table, n_bytes, is_sent):
    def grow(batches):
        for batch in batches:
            yield pa.RecordBatch.from_pydict({"uri": batch.column("uri"), "noise": [os.urandom(n_bytes)]})

    one = read_lance(spark, table.uri).repartition(2)
    other = read_lance(spark, table.uri, columns=["uri"]).mapInArrow(grow, "uri string, noise binary")
    assert ("BroadcastHashJoin" in _plan(one.join(other, "uri", "left"), is_final=True)) == is_sent
