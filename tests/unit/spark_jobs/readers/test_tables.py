import pytest

from forebay.documents import RejectionReason as Reason
from spark_jobs.parse_documents.readers.cells import markdown_table, named_lines
from spark_jobs.parse_documents.readers.contract import UnparsableError
from spark_jobs.parse_documents.readers.delimited import read_csv, read_tsv


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([["a", "b"], ["1", "2"], ["3", ""]], ["a: 1; b: 2", "a: 3"]),
        ([["A caption"], [], ["a", "b"], ["1", "2"]], ["A caption", "a: 1; b: 2"]),
        ([["1", "2"], ["3", "4"]], ["1; 2", "3; 4"]),
        ([["a", "a"], ["1", "2"]], ["a; a", "1; 2"]),
        ([["a", "b"], ["1", "2", "3"]], ["a: 1; b: 2; 3"]),
        ([["", "b", "c"], ["row", "1", "2"]], ["row; b: 1; c: 2"]),
        ([["only"], ["one"]], ["only", "one"]),
        ([["a\nb", " c "], ["1\n2", "3"]], ["a b: 1 2; c: 3"]),
        ([], []),
    ],
)
def test_rows_become_lines_that_say_what_their_values_are(rows, lines):
    assert list(named_lines(rows)) == lines


def test_a_markdown_table_is_a_rectangle():
    assert markdown_table([["a", "b|c"], ["1"]]) == "| a | b\\|c |\n| --- | --- |\n| 1 |  |"
    assert markdown_table([["", " "]]) == ""


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_the_rows(delimiter):
    rows = ["name{}text", 'cone{}"a, b; c"', 'wedge{}"say ""no"" | yes"']
    text = "\n".join(row.format(delimiter) for row in rows)
    assert read_csv(text.encode()).text == 'name: cone; text: a, b; c\nname: wedge; text: say "no" | yes'


def test_a_tsv_has_tabs_even_where_commas_are_more_regular():
    assert read_tsv(b"a,b\tc,d\n1,2\t3,4\n").text == "a,b: 1,2; c,d: 3,4"


def test_values_longer_than_the_csv_module_allows_are_read():
    assert len(read_csv(b'a,b\n1,"' + b"x" * 2**20 + b'"').text) > 2**20


def test_a_long_name_before_many_values_expands_too_far():
    data = b"a," + b"x" * 100 + b"\n" + b",1\n" * 400_000
    with pytest.raises(UnparsableError) as caught:
        read_csv(data)
    assert caught.value.reason == Reason.EXPANDS_TOO_FAR


def test_hostile_quotes_take_no_time():
    assert read_csv(b"',\"" * 500_000 + b"\n").text
