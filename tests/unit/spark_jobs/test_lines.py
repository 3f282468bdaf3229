import pytest

from spark_jobs.parse_documents.lines import read_lines

_DATA = b"first\nsecond line\r\n\nlonger than allowed\nlast"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "f").write_bytes(_DATA)
    return bytes(tmp_path / "f")


def test_lines_come_without_breaks_and_long_ones_as_none(path):
    read = [line for _, _, line in read_lines(path, 0, len(_DATA), 12)]
    assert read == [b"first", b"second line", b"", None, b"last"]


@pytest.mark.parametrize("cut", range(1, len(_DATA)))
def test_ranges_divide_the_lines_among_them(path, cut):
    whole = [(offset, line) for _, offset, line in read_lines(path, 0, len(_DATA), 12)]
    parts = [
        (offset, line)
        for start, end in ((0, cut), (cut, len(_DATA)))
        for _, offset, line in read_lines(path, start, end, 12)
    ]
    assert parts == whole
