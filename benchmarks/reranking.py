"""How long a cross-encoder of MiniLM-L6's size takes for the first hits of one question.

The weights are random: time doesn't depend on them, and no cross-encoder can be fetched where the figures are from. The
texts are documents of `samples/cranfield`, the tokenizer is the default embedding model's.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.machine import SAMPLE, report
from forebay.documents import content_hash
from forebay.models import model_folder
from forebay.reranking import Reranker
from forebay.reranking.cross_encoder import CrossEncoderScorer
from forebay.settings import EmbeddingSettings, PathSettings
from forebay.store import Hit


def write_minilm(folder: Path) -> None:
    """Write MiniLM-L6-v2's architecture with one label and random weights."""
    source = model_folder(EmbeddingSettings().model, PathSettings().models)
    for path in [*source.glob("tokenizer*"), *source.glob("vocab*"), *source.glob("special*")]:
        shutil.copy(path, folder)
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=1
    )
    BertForSequenceClassification(config).save_pretrained(folder)


def hits_of(documents: list[dict[str, Any]]) -> list[Hit]:
    return [
        Hit(row["_id"], row["_id"], 1.0, None, row["title"], row["text"], "", "", "", 0, 0, content_hash(row["text"]))
        for row in documents
    ]


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLE / name).read_text("utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--questions", type=int, default=15)
    options = parser.parse_args()
    documents, questions = lines("corpus.jsonl"), [row["text"] for row in lines("queries.jsonl")]
    with tempfile.TemporaryDirectory() as folder:
        write_minilm(Path(folder))
        scorer = CrossEncoderScorer(Path(folder))
    reranker = Reranker(scorer, candidates=options.candidates, batch_size=options.batch_size)
    taken_ms, tokens = [], []
    for number, question in enumerate(questions[: options.questions]):
        hits = hits_of(documents[number * options.candidates : (number + 1) * options.candidates])
        began = time.perf_counter()
        reranker.rerank([(question, hits)])
        taken_ms.append((time.perf_counter() - began) * 1000)
        tokens += [len(pair["input_ids"]) for pair in scorer.encode([(question, hit.text) for hit in hits])]
    figures = {
        "candidates": options.candidates,
        "batch_size": options.batch_size,
        "questions": len(taken_ms),
        "tokens_a_pair": round(statistics.mean(tokens)),
        "ms_p50": round(statistics.median(taken_ms)),
        "ms_max": round(max(taken_ms)),
        "threads": torch.get_num_threads(),
    }
    report(figures)


if __name__ == "__main__":
    main()
