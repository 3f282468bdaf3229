"""nDCG@10 and recall@100 of hybrid, dense and BM25 search on `samples/cranfield`; `make bench-quality`.

Feedback and the rules for identifiers are measured against the same search without them. The identifiers are words
of the corpus, each asked alone; the one or two documents that hold it are relevant.
"""

import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import SAMPLE, report
from benchmarks.sample_release import halves, sample_questions, sample_release
from forebay.golden import GoldenQuestions
from forebay.store import qdrant_edge
from forebay.store.contract import SearchMode
from forebay.store.query_rules import NO_RULES, read_rules
from quality.retrieval import evaluate

_IDENTIFIERS = 120
_MAX_HOLDERS = 2


def _identifiers() -> GoldenQuestions:
    holders: dict[str, set[str]] = defaultdict(set)
    for line in (SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        for word in f"{row.get('title', '')} {row['text']}".split():
            if len(word) > 2 and read_rules(word) != NO_RULES:
                holders[word].add(row["_id"])
    rare = sorted(word for word, documents in holders.items() if len(documents) <= _MAX_HOLDERS)
    chosen = random.Random(1).sample(rare, _IDENTIFIERS)
    return GoldenQuestions({word: word for word in chosen}, {word: dict.fromkeys(holders[word], 1) for word in chosen})


def main() -> None:
    golden, identifiers = sample_questions(), _identifiers()
    _, others = halves(golden)
    with sample_release() as (release, embedder):
        figures = {mode.value: evaluate(release, embedder, golden, mode) for mode in SearchMode}
        figures["hybrid, no feedback"] = evaluate(release, embedder, golden, feedback=False)
        held_out = evaluate(release, embedder, others)
        held_out_once = evaluate(release, embedder, others, feedback=False)
        by_rules = evaluate(release, embedder, identifiers)
        with patch.object(qdrant_edge, "read_rules", lambda _: NO_RULES):
            by_no_rules = evaluate(release, embedder, identifiers)
        chunks = release.manifest.chunks
    for name, measured in figures.items():
        print(f"{name:<20} nDCG@10 {measured.ndcg10:.4f}  recall@100 {measured.recall100:.4f}")
    hybrid = figures["hybrid"]
    report(
        {
            "ndcg10_hybrid": hybrid.ndcg10,
            "ndcg10_hybrid_interval": hybrid.intervals["ndcg10"],
            "ndcg10_heldout": held_out.ndcg10,
            "ndcg10_without_feedback": figures["hybrid, no feedback"].ndcg10,
            "ndcg10_heldout_without_feedback": held_out_once.ndcg10,
            "ndcg10_dense": figures["dense"].ndcg10,
            "ndcg10_bm25": figures["bm25"].ndcg10,
            "mrr10_hybrid": hybrid.mrr10,
            "recall100_hybrid": hybrid.recall100,
            "recall100_without_feedback": figures["hybrid, no feedback"].recall100,
            "mrr10_identifiers": by_rules.mrr10,
            "mrr10_identifiers_without_rules": by_no_rules.mrr10,
            "questions": len(golden.qrels),
            "chunks": chunks,
        }
    )


if __name__ == "__main__":
    main()
