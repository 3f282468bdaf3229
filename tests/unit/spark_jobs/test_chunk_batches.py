import itertools

from forebay.chunks import CHUNKS
from spark_jobs.chunk_documents.transforms import batches_of


def _row(number):
    return {
        name: number if kind in ("int32", "int64") else "x"
        for name, kind in zip(CHUNKS.names, map(str, CHUNKS.types), strict=True)
    }


def test_a_document_of_very_many_chunks_is_given_in_small_batches():
    taken = 0

    def rows():
        nonlocal taken
        for taken in itertools.count(1):
            yield _row(taken)

    (first, second) = itertools.islice(batches_of(rows()), 2)
    assert first.num_rows == second.num_rows < 1000
    assert taken == first.num_rows + second.num_rows
    assert second["chunk_no"][0].as_py() == first.num_rows + 1


def test_the_last_batch_holds_the_rest():
    assert [batch.num_rows for batch in batches_of(map(_row, range(3)))] == [3]
    assert list(batches_of(iter([]))) == []
