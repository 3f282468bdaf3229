import json
import os

import pytest

from forebay.documents import RejectionReason as Reason
from forebay.sources.contract import Rejected
from forebay.sources.folder import FolderSource
from spark_jobs.parse_documents.parsing import Parsed, parse_unit

_LIMIT = 10_000


def _parse(tmp_path, name, data, limit=_LIMIT):
    (tmp_path / name).write_bytes(data)
    source = FolderSource(tmp_path)
    (unit,) = source.changes().units
    return list(parse_unit(source, unit, limit))


def _rows(*rows):
    return b"\n".join(json.dumps(row).encode() for row in rows)


def test_a_text_file_is_a_document(tmp_path):
    assert _parse(tmp_path, "note.txt", b"Hello.") == [Parsed("note.txt", 0, "note.txt", "", "Hello.", "text", "{}")]


def test_a_markdown_title_is_its_first_heading(tmp_path):
    (document,) = _parse(tmp_path, "a.md", b"intro\n\n# The title\n\ntext")
    assert (document.title, document.format) == ("The title", "markdown")


def test_html_loses_its_boilerplate(tmp_path):
    body = "<p>" + "The forebay holds water until the turbines need it. " * 8 + "</p>"
    html = f"<html><head><title>Forebays</title></head><body><nav>Home | About</nav>{body}</body></html>"
    (document,) = _parse(tmp_path, "a.html", html.encode())
    assert document.title == "Forebays"
    assert "turbines" in document.text
    assert "About" not in document.text


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.bin", b"x", Reason.UNSUPPORTED_FORMAT),
        ("a.txt", b"", Reason.BLANK_TEXT),
        ("a.txt", b" \n\t ", Reason.BLANK_TEXT),
        ("a.txt", "\u200b\ufeff\xad\u0301\ufffd".encode(), Reason.BLANK_TEXT),
        ("a.txt", bytes(range(256)) * 8, Reason.BINARY_CONTENT),
        ("a.txt", b"\xff\xfe\x00", Reason.UNKNOWN_ENCODING),
        ("a.txt", b"x" * (_LIMIT + 1), Reason.TOO_LARGE),
        ("a.html", b"<html><body></body></html>", Reason.PARSER_ERROR),
        ("a.jsonl", b"{broken", Reason.INVALID_JSON),
        ("a.jsonl", b"[1, 2]", Reason.INVALID_JSON),
        ("a.jsonl", b"[" * 5000 + b"]" * 4000, Reason.INVALID_JSON),
        ("a.jsonl", b'{"_id": "1"}', Reason.MISSING_TEXT),
        ("a.jsonl", b'{"_id": "1", "text": 5}', Reason.MISSING_TEXT),
        ("a.jsonl", b'{"_id": "1", "text": " "}', Reason.BLANK_TEXT),
        ("a.jsonl", b'{"_id": "1", "text": "\\u0000\\u200b"}', Reason.BLANK_TEXT),
        ("a.jsonl", b'{"_id": ["1"], "text": "x"}', Reason.INVALID_ID),
        ("a.jsonl", b'{"_id": "", "text": "x"}', Reason.INVALID_ID),
        ("a.jsonl", b"x" * (_LIMIT + 1), Reason.TOO_LARGE),
    ],
)
def test_bad_input_is_rejected_with_its_reason(tmp_path, name, data, reason):
    (rejected,) = _parse(tmp_path, name, data)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason
    assert rejected.detail


def test_a_bad_row_costs_only_itself(tmp_path):
    data = _rows({"_id": "1", "text": "one"}) + b"\n{bad\n" + _rows({"_id": "2", "text": "two"})
    first, bad, second = _parse(tmp_path, "a.jsonl", data)
    assert (first.doc_id, second.doc_id) == ("1", "2")
    assert bad.uri == "a.jsonl#L2"


def test_a_row_without_an_id_is_named_by_its_line(tmp_path):
    (document,) = _parse(tmp_path, "a.jsonl", _rows({"text": "x"}))
    assert document.doc_id == "a.jsonl#L1"


def test_metadata_keeps_what_can_be_filtered(tmp_path):
    row = {"_id": 7, "text": "x", "metadata": {"year": 1960, "tags": ["a"], "name": "n", "huge": 2**70}}
    (document,) = _parse(tmp_path, "a.jsonl", _rows(row))
    assert document.doc_id == "7"
    assert json.loads(document.metadata) == {"year": 1960, "name": "n"}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    "fields", [{"note": "x" * 2**16}, {f"field {number}": number for number in range(5000)}], ids=["long", "many"]
)
def test_metadata_that_would_outweigh_the_text_is_refused(tmp_path, name, fields):
    data = _rows({"_id": "1", "text": "x", "metadata": fields})
    (rejected,) = _parse(tmp_path, name, data, limit=2**20)
    assert (rejected.reason, rejected.doc_id) == (Reason.TOO_LARGE, "1" if name == "a.jsonl" else name)
    assert "metadata" in rejected.detail


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"tenant": "acme", "groups": ["hr", "board", "hr"]}, {"tenant": "acme", "groups": ["board", "hr"]}),
        ({"tenant": 7, "groups": " hr "}, {"tenant": "7", "groups": ["hr"]}),
        ({"tenant": None, "groups": None}, {}),
    ],
)
def test_tenant_and_groups_are_kept_as_names(tmp_path, name, fields, kept):
    (document,) = _parse(tmp_path, name, _rows({"_id": "1", "text": "x", "metadata": fields}))
    assert json.loads(document.metadata) == kept


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    "fields",
    [
        {"tenant": ""},
        {"tenant": " "},
        {"tenant": ["acme"]},
        {"tenant": {"name": "acme"}},
        {"tenant": True},
        {"tenant": 1.5},
        {"tenant": "a\nb"},
        {"tenant": "\ud800"},
        {"tenant": "x" * 201},
        {"groups": []},
        {"groups": ["hr", None]},
        {"groups": ["hr", 1.5]},
        {"groups": [""]},
        {"groups": {"hr": True}},
        {"groups": [str(n) for n in range(201)]},
    ],
)
def test_a_document_of_which_nobody_can_tell_who_may_find_it_is_rejected(tmp_path, name, fields):
    (rejected,) = _parse(tmp_path, name, _rows({"_id": "1", "text": "x", "metadata": fields}))
    assert rejected.reason == Reason.INVALID_ACCESS
    assert next(iter(fields)) in rejected.detail
    assert rejected.doc_id == ("1" if name == "a.jsonl" else None)


def test_a_json_file_without_a_text_keeps_its_tenant(tmp_path):
    (document,) = _parse(tmp_path, "a.json", _rows({"note": "x", "metadata": {"tenant": "acme"}}))
    assert json.loads(document.metadata) == {"tenant": "acme"}


def test_lone_surrogates_are_replaced(tmp_path):
    (document,) = _parse(tmp_path, "a.jsonl", b'{"_id": "1", "text": "a\\ud800b \\ud83d\\ude00"}')
    assert document.text == "a\ufffdb \U0001f600"


def test_other_encodings_are_read(tmp_path):
    text = "Die Größe der Düse beträgt fünf Zentimeter. Übergänge müssen geprüft werden, natürlich auch später."
    (document,) = _parse(tmp_path, "a.txt", text.encode("cp1252"))
    assert "Größe" in document.text


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        (b"line\nbreak.csv", "line\\nbreak.csv"),
        (b"no utf-8 \xff.csv", "no utf-8 \\xff.csv"),
        ("Größe der Düse.csv".encode(), "Größe der Düse.csv"),
        (b"two.dots.CSV", "two.dots.CSV"),
    ],
)
def test_names_that_are_hard_to_print(tmp_path, name, uri):
    with open(os.path.join(os.fsencode(tmp_path), name), "wb") as stream:
        stream.write(b"a,b\n1,2\n")
    source = FolderSource(tmp_path)
    (unit,) = source.changes().units
    (document,) = parse_unit(source, unit, _LIMIT)
    assert (document.uri, document.text) == (uri, "a: 1; b: 2")


@pytest.mark.parametrize(("ending", "data"), [(b".csv", b"a,b\n1,2\n"), (b".jsonl", b'{"text": "one"}')])
def test_a_place_that_is_too_long_for_an_id_is_shortened_and_stays_its_own(tmp_path, ending, data):
    # As many bytes as a name may have, each of which is written with four characters.
    names = [b"\xff" * (254 - len(ending)) + last + ending for last in (b"1", b"2")]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as stream:
            stream.write(data)
    source = FolderSource(tmp_path)
    first, second = (document for unit in source.changes().units for document in parse_unit(source, unit, _LIMIT))
    assert len(first.uri) > 512
    assert len(first.doc_id) == len(second.doc_id) == 512
    assert first.doc_id[:400] == second.doc_id[:400] == first.uri[:400]
    assert first.doc_id != second.doc_id


def test_a_parser_that_takes_too_long_costs_its_document(tmp_path):
    rows = "<tr><td>x</td></tr>" * 100_000
    (tmp_path / "a.html").write_text(f"<html><body><table>{rows}</table></body></html>")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    source = FolderSource(tmp_path)
    slow, quick = source.changes().units
    (rejected,) = parse_unit(source, slow, 2**22, parser_timeout_s=0.5)
    assert (rejected.reason, rejected.uri) == (Reason.PARSER_TIMED_OUT, "a.html")
    (document,) = parse_unit(source, quick, 2**22, parser_timeout_s=10)
    assert document.text == "a: 1; b: 2"


def test_a_file_that_vanishes_is_unreadable(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    source = FolderSource(tmp_path)
    (unit,) = source.changes().units
    (tmp_path / "a.txt").unlink()
    (rejected,) = parse_unit(source, unit, _LIMIT)
    assert rejected.reason == Reason.UNREADABLE
