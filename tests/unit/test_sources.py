import os

import pytest

from forebay.errors import ConfigurationError
from forebay.sources import list_source, source_fingerprint


def test_files_are_listed_with_their_format(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "sub/b.md", "c.HTML", "d.jsonl", "e.exe"):
        (tmp_path / name).write_text("x")
    listed = {unit.uri: unit.format for unit in list_source(tmp_path)}
    assert listed == {
        "a.txt": "text",
        "sub/b.md": "markdown",
        "c.HTML": "html",
        "d.jsonl": "jsonl",
        "e.exe": "unsupported",
    }


def test_hidden_files_links_and_golden_questions_are_no_documents(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / ".hidden.txt").write_text("x")
    (tmp_path / "queries.jsonl").write_text("{}")
    (tmp_path / "qrels.tsv").write_text("x")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [unit.uri for unit in list_source(tmp_path)] == ["a.txt"]


def test_names_that_are_no_utf8_are_printable(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "wb") as stream:
        stream.write(b"x")
    (unit,) = list_source(tmp_path)
    assert unit.uri == "\\xff.txt"
    with open(unit.path, "rb") as stream:
        assert stream.read() == b"x"


def test_one_file_is_a_source_too(tmp_path):
    (tmp_path / "a.md").write_text("x")
    assert [unit.uri for unit in list_source(tmp_path / "a.md")] == ["a.md"]


def test_a_missing_source_is_a_named_error(tmp_path):
    with pytest.raises(ConfigurationError, match="nowhere"):
        list_source(tmp_path / "nowhere")


def test_the_fingerprint_follows_changes(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    before = source_fingerprint(tmp_path)
    assert source_fingerprint(tmp_path) == before
    (tmp_path / "a.txt").write_text("xy")
    assert source_fingerprint(tmp_path) != before
