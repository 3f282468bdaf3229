"""Documents for benchmarks: seeded, new text in the manner of a real corpus, no copies of it."""

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.machine import SAMPLE

_DOCUMENT_CHARS = 1200
_FILE_DOCUMENTS = 5000


class TextGenerator:
    """A second-order Markov chain over the words of the Cranfield abstracts."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._next: dict[tuple[str, str], list[str]] = defaultdict(list)
        rows = (SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()
        for row in rows:
            words = json.loads(row)["text"].split()
            for one, two, three in zip(words, words[1:], words[2:], strict=False):
                self._next[one, two].append(three)
        self._states = list(self._next)

    def text(self, n_chars: int = _DOCUMENT_CHARS) -> str:
        """Write about `n_chars` characters."""
        one, two = self._random.choice(self._states)
        words, length = [one, two], len(one) + len(two) + 1
        while length < n_chars:
            following = self._next.get((one, two))
            # Where the chain has one way only it would copy; every so often it jumps.
            if following is None or (len(following) == 1 and self._random.random() < 0.1):
                one, two = self._random.choice(self._states)
                words += [one, two]
                length += len(one) + len(two) + 2
                continue
            one, two = two, following[int(self._random.random() * len(following))]
            words.append(two)
            length += len(two) + 1
        return " ".join(words)


def write_documents(folder: Path, n_documents: int, seed: int = 7) -> None:
    """Write a source of JSONL files of 5,000 documents each."""
    folder.mkdir(parents=True)
    generator = TextGenerator(seed)
    for first in range(0, n_documents, _FILE_DOCUMENTS):
        rows = _rows(generator, first, min(first + _FILE_DOCUMENTS, n_documents))
        (folder / f"part-{first // _FILE_DOCUMENTS:05d}.jsonl").write_text("\n".join(rows), "utf-8")


def write_files(folder: Path, n_documents: int, seed: int = 7) -> list[Path]:
    """Write a source of one text file per document, 1,000 to a folder; gives the files."""
    generator = TextGenerator(seed)
    files: list[Path] = []
    for number in range(n_documents):
        path = folder / f"{number // 1000:03d}" / f"document-{number:07d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(generator.text(), "utf-8")
        files.append(path)
    return files


def _rows(generator: TextGenerator, first: int, last: int) -> Iterator[str]:
    for number in range(first, last):
        yield json.dumps({"id": f"doc-{number:08d}", "title": generator.text(40), "text": generator.text()})
