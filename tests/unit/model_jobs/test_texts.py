import json
from pathlib import Path

import pytest

from model_jobs.quantize_generator.texts import read_texts, token_windows


def tokenize(text: str) -> list[int]:
    return [ord(character) for character in text]


def test_texts_of_a_folder(tmp_path: Path) -> None:
    rows = [json.dumps({"text": "one"}), "{", json.dumps({"title": "x"}), json.dumps({"text": "two"})]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    (tmp_path / "b.txt").write_text("three")
    (tmp_path / "c.pdf").write_bytes(b"%PDF")
    assert read_texts(tmp_path, 10) == ["one", "two", "three"]
    assert read_texts(tmp_path, 2) == ["one", "two"]


def test_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no text"):
        read_texts(tmp_path, 10)


def test_windows_are_full_and_follow_each_other() -> None:
    windows = token_windows(["abc", "defg"], tokenize, windows=5, window_tokens=4)
    assert ["".join(map(chr, window)) for window in windows] == ["abc\n", "\ndef"]


def test_no_more_windows_than_asked_for() -> None:
    assert len(token_windows(["a" * 100], tokenize, windows=3, window_tokens=10)) == 3


def test_too_little_text_is_said() -> None:
    with pytest.raises(ValueError, match="too few to quantize"):
        token_windows(["ab"], tokenize, windows=3, window_tokens=10)
