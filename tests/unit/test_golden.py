import pytest

from forebay.errors import DataError
from forebay.golden import GoldenQuestions


@pytest.fixture
def files(tmp_path):
    queries, qrels = tmp_path / "queries.jsonl", tmp_path / "qrels.tsv"
    queries.write_text('{"_id": 1, "text": "why?"}\n')
    qrels.write_text("query-id\tcorpus-id\tscore\n1\td1\t2\n1\td2\t1\n")
    return queries, qrels


def test_questions_and_judgements_are_read(files):
    golden = GoldenQuestions.load(*files)
    assert golden.queries == {"1": "why?"}
    assert golden.qrels == {"1": {"d1": 2, "d2": 1}}


def test_the_fingerprint_follows_the_judgements(files):
    before = GoldenQuestions.load(*files).fingerprint
    files[1].write_text("query-id\tcorpus-id\tscore\n1\td1\t1\n1\td2\t1\n")
    assert GoldenQuestions.load(*files).fingerprint != before


@pytest.mark.parametrize(
    ("which", "text", "place"),
    [
        (0, '{"_id": 1}\n', "queries.jsonl:1"),
        (0, "x\n", "queries.jsonl:1"),
        (1, "h\n1\td1\tgood\n", "qrels.tsv:2"),
    ],
)
def test_a_bad_line_is_named(files, which, text, place):
    files[which].write_text(text)
    with pytest.raises(DataError, match=place):
        GoldenQuestions.load(*files)


def test_judgements_of_dropped_documents_are_left_out(files):
    golden = GoldenQuestions.load(*files)
    assert golden.without_documents({"d1"}).qrels == {"1": {"d2": 1}}
    assert golden.without_documents({"d1", "d2"}).qrels == {}


def test_a_missing_file_is_named(files, tmp_path):
    with pytest.raises(DataError, match="nothing"):
        GoldenQuestions.load(tmp_path / "nothing", files[1])
