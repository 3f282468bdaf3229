import itertools

import pyarrow as pa

from spark_jobs.row_batches import batches_of

_SCHEMA = pa.schema([("number", pa.int64()), ("title", pa.string()), ("text", pa.string())])


def test_very_many_rows_are_given_in_small_batches_as_they_come():
    taken = 0

    def rows():
        nonlocal taken
        for taken in itertools.count(1):
            yield {"number": taken, "text": "x"}

    (first, second) = itertools.islice(batches_of(rows(), _SCHEMA), 2)
    assert first.num_rows == second.num_rows < 1000
    assert taken == first.num_rows + second.num_rows
    assert second["number"][0].as_py() == first.num_rows + 1


def test_large_rows_are_given_a_few_at_a_time():
    text = "x" * 2**20
    rows = [{"number": number, "title": text, "text": text} for number in range(7)]
    assert [batch.num_rows for batch in batches_of(rows, _SCHEMA)] == [2, 2, 2, 1]


def test_a_row_that_fills_more_than_a_batch_is_given_alone():
    rows = [{"text": "x" * 10 * 2**20}, {"text": "x"}, {"text": None}]
    assert [batch.num_rows for batch in batches_of(rows, _SCHEMA)] == [1, 2]


def test_the_last_batch_holds_the_rest():
    assert [batch.num_rows for batch in batches_of([{"number": number} for number in range(3)], _SCHEMA)] == [3]
    assert list(batches_of([], _SCHEMA)) == []
