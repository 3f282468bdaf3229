"""Golden questions: what people ask of a corpus, and which documents answer it (BEIR's file layout)."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from forebay.documents import content_hash
from forebay.errors import DataError

__all__ = ["GoldenQuestions"]

_MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class GoldenQuestions:
    """Questions and graded judgements."""

    queries: dict[str, str]
    """Question by its id."""
    qrels: dict[str, dict[str, int]]
    """Relevance grade by question id and document id."""

    @property
    def fingerprint(self) -> str:
        """Identity of the questions and judgements."""
        judgements = json.dumps(self.qrels, sort_keys=True)
        return content_hash(json.dumps(self.queries, sort_keys=True, ensure_ascii=False), judgements)

    @property
    def judged_documents(self) -> set[str]:
        """Ids of all documents that a judgement names."""
        return {doc_id for grades in self.qrels.values() for doc_id in grades}

    def without_documents(self, doc_ids: Collection[str]) -> "GoldenQuestions":
        """Leave out the judgements of some documents, and with them the questions that keep none."""
        kept = {
            query_id: {doc_id: grade for doc_id, grade in grades.items() if doc_id not in doc_ids}
            for query_id, grades in self.qrels.items()
        }
        return GoldenQuestions(self.queries, {query_id: grades for query_id, grades in kept.items() if grades})

    @classmethod
    def load(cls, queries: Path, qrels: Path) -> "GoldenQuestions":
        """Read `queries.jsonl` ({"_id", "text"} a line) and `qrels.tsv` (header, then question, document, grade).

        Raises:
            DataError: a file is missing or a line can't be read; the message names the line.
        """
        for path in (queries, qrels):
            if not path.is_file() or path.stat().st_size > _MAX_BYTES:
                raise DataError(f"the golden questions need the file {path} of at most {_MAX_BYTES} bytes.")
        return cls(_read_queries(queries), _read_qrels(qrels))


def _read_queries(path: Path) -> dict[str, str]:
    queries: dict[str, str] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            queries[str(row["_id"])] = str(row["text"])
        except (ValueError, KeyError, TypeError) as exc:
            raise DataError(f'{path}:{number} is not a question; a line must be {{"_id": ..., "text": ...}}.') from exc
    return queries


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines()[1:], start=2):
        try:
            query_id, doc_id, grade = line.split("\t")
            qrels.setdefault(query_id, {})[doc_id] = int(grade)
        except ValueError as exc:
            raise DataError(f"{path}:{number} is not a judgement; a line must be question, document, grade.") from exc
    return qrels
