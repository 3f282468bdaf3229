import io

import pytest

from forebay.sources.lines import read_lines

_DATA = b"first\nsecond line\r\n\nlonger than allowed\nlast"


def lines(start, end, max_bytes=12):
    return [(offset, line) for _, offset, line in read_lines(io.BytesIO(_DATA), start, end, max_bytes)]


def test_lines_come_without_breaks_and_long_ones_as_none():
    assert lines(0, len(_DATA)) == [(0, b"first"), (6, b"second line"), (19, b""), (20, None), (40, b"last")]


def test_lines_are_numbered_within_the_range():
    assert [number for number, _, _ in read_lines(io.BytesIO(_DATA), 6, len(_DATA), 12)] == [1, 2, 3, 4]


@pytest.mark.parametrize("cut", range(1, len(_DATA)))
def test_ranges_divide_the_lines_among_them(cut):
    assert lines(0, cut) + lines(cut, len(_DATA)) == lines(0, len(_DATA))


class Counted(io.BytesIO):
    longest = 0
    total = 0

    def readline(self, size=-1):
        line = super().readline(size)
        self.longest = max(self.longest, len(line))
        self.total += len(line)
        return line


def test_a_line_of_many_ranges_is_not_read_to_its_end_by_each_of_them():
    data, part = b"x" * 40_000_000 + b"\nlast\n", 2_000_000
    streams = [Counted(data) for _ in range(0, len(data), part)]
    found = [
        read_lines(stream, number * part, min((number + 1) * part, len(data)), 100)
        for number, stream in enumerate(streams)
    ]
    assert [line for lines_of_range in found for _, _, line in lines_of_range] == [None, b"last"]
    # Each range may look into the next one.
    assert sum(stream.total for stream in streams) < 2 * len(data)


def test_a_long_line_is_never_held():
    stream = Counted(b"x" * 5_000_000 + b"\nlast\n")
    assert [line for _, _, line in read_lines(stream, 0, 5_000_006, 100)] == [None, b"last"]
    assert stream.longest <= 2**20
