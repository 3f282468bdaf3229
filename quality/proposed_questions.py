"""Questions that stand in for people's until a corpus has some: words that a passage has and few others have.

Simulated queries for known items; Source: Azzopardi, de Rijke & Balog, Building Simulated Queries for Known-Item Topics
(SIGIR 2007), with their discriminative choice of words. They tell whether a release still finds its passages by their
own words, and nothing about how people ask.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from forebay.errors import DataError
from forebay.golden import GoldenQuestions
from forebay.tables import Table

__all__ = ["propose_questions", "proposed", "save_proposed"]

_SAMPLED_CHUNKS = 5_000
_WORDS = (3, 6)
_MIN_DISTINCT_WORDS = 12
# A word of more passages than this says nothing about one of them.
_MAX_SHARE = 0.1
_WORD = re.compile(r"[^\W\d_]{3,}")


def proposed(passages: Sequence[tuple[str, str]], wanted: int, seed: int) -> GoldenQuestions:
    """Make questions of passages: each of a document of its own, whose words are drawn by term frequency times idf.

    Args:
        passages: Document id and text of each.
        wanted: Questions wanted; fewer are made where few passages have words of their own.
        seed: Decides about the choice.
    """
    random = np.random.default_rng(seed)
    words = [Counter(_WORD.findall(text.lower())) for _, text in passages]
    spread = Counter(word for counts in words for word in counts)
    limit = max(1.0, _MAX_SHARE * len(passages))
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    asked = set[str]()
    for position in random.permutation(len(passages)).tolist():
        doc_id, counts = passages[position][0], words[position]
        own = [word for word in counts if spread[word] <= limit]
        if len(queries) == wanted or doc_id in asked or len(own) < _MIN_DISTINCT_WORDS:
            continue
        weights = np.array([counts[word] * np.log(1 + len(passages) / spread[word]) for word in own])
        length = int(random.integers(_WORDS[0], _WORDS[1] + 1))
        chosen = random.choice(len(own), length, replace=False, p=weights / weights.sum())
        name = f"proposed-{len(queries) + 1:04d}"
        asked.add(doc_id)
        queries[name] = " ".join(own[number] for number in chosen.tolist())
        qrels[name] = {doc_id: 1}
    return GoldenQuestions(queries, qrels)


def propose_questions(chunks: Table, wanted: int, seed: int) -> GoldenQuestions:
    """Make questions of a sample of a corpus's published chunks.

    Raises:
        DataError: there are no published chunks, or none of them has words enough.
    """
    published = chunks.published()
    rows = published.count_rows() if published is not None else 0
    if published is None or not rows:
        raise DataError("there are no published chunks yet; materialize the asset `chunks` first.")
    numbers = np.random.default_rng(seed).choice(rows, min(rows, _SAMPLED_CHUNKS), replace=False)
    table: Any = published.take(np.sort(numbers).tolist(), columns=["doc_id", "text"])
    found = proposed(list(zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True)), wanted, seed)
    if not found.queries:
        raise DataError("no passage of the corpus has words of its own enough for a question; write some by hand.")
    return found


def save_proposed(questions: GoldenQuestions, folder: Path) -> None:
    """Write BEIR's files; every question says that it is synthetic."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"_id": name, "text": text, "metadata": {"synthetic": True}}, ensure_ascii=False)
        for name, text in questions.queries.items()
    ]
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    judgements = [
        f"{name}\t{doc_id}\t{grade}" for name, grades in questions.qrels.items() for doc_id, grade in grades.items()
    ]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judgements]) + "\n", "utf-8")
