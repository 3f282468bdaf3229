import pyarrow as pa
import pytest

from forebay.tables import Table
from quality.suites.sampling import sample_of_run
from quality.validate import SAMPLE_ROWS

_SCHEMA = pa.schema([("text", pa.string()), ("run_id", pa.string())])


@pytest.fixture
def table(tmp_path):
    table = Table(tmp_path / "t.lance", _SCHEMA)
    table.prepare("run 2")
    return table


def _rows(texts, run_id):
    return pa.table({"text": texts, "run_id": [run_id] * len(texts)}, _SCHEMA)


def test_only_what_the_run_wrote_is_looked_at(table):
    table.append(_rows(["old"], "run 1"))
    table.append(_rows(["new", "newer"], "run 2"))
    assert list(sample_of_run(table, "run 2", ["text"])["text"]) == ["new", "newer"]


def test_the_whole_table_is_looked_at_where_the_run_wrote_nothing(table):
    table.append(_rows(["old"], "run 1"))
    assert list(sample_of_run(table, "run 2")["text"]) == ["old"]


def test_an_empty_table_gives_its_columns(table):
    assert list(sample_of_run(table, "run 2").columns) == ["text", "run_id"]


def test_a_sample_has_no_more_rows_than_wanted(table):
    table.append(_rows(["x"] * (SAMPLE_ROWS + 1), "run 2"))
    assert len(sample_of_run(table, "run 2")) == SAMPLE_ROWS


def test_a_sample_of_large_rows_ends_when_it_is_large(table):
    table.append(_rows(["x" * 2**19] * 400, "run 2"))
    assert 128 <= len(sample_of_run(table, "run 2")) < 400
