"""Write `tests/data/files` anew: `python -m tests.data.make_files` from the root of the repository."""

import json
from pathlib import Path

from tests.data import office_files, pdf_files, text_files

_ROOT = Path(__file__).resolve().parents[2]
_FILES = _ROOT / "tests" / "data" / "files"


def main():
    """Write every file, and what is expected of it, as the tables in the other modules say."""
    lines = (_ROOT / "samples" / "cranfield" / "corpus.jsonl").read_text().splitlines()
    corpus = [json.loads(line) for line in lines[:20]]
    made = {**text_files.files(corpus), **pdf_files.files(corpus), **office_files.files(corpus)}
    _FILES.mkdir(exist_ok=True)
    for path in _FILES.iterdir():
        path.unlink()
    for name, (data, _) in made.items():
        (_FILES / name).write_bytes(data)
    expected = {name: outcome for name, (_, outcome) in sorted(made.items())}
    text = json.dumps(expected, indent=2, ensure_ascii=False) + "\n"
    (_FILES / "EXPECTED.json").write_text(text)


if __name__ == "__main__":
    main()
