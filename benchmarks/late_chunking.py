"""Is late chunking worth it? Chunks of 64 tokens of the sample's abstracts, embedded in four ways; about ten minutes.

alone: a chunk's text by itself. titled: with its document's title, as the pipeline does (`embedded_text`). late: the
abstract in one pass, the mean of a chunk's token vectors (Günther et al. 2024, arXiv:2409.04701). late_titled: the same
with the title in front of the abstract. All in bf16, searched exactly, a document by its best chunk.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ir_measures
import numpy as np
import torch
from ir_measures import R, nDCG
from sentence_transformers import SentenceTransformer

from benchmarks.machine import SAMPLE, report
from forebay.chunks import embedded_text
from forebay.embedding.batching import token_budget_batches
from forebay.golden import GoldenQuestions
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings

_CHUNK_TOKENS = 64
# The positions that all-MiniLM-L6-v2 has; its own limit, 256, is what it was trained with.
_WINDOW_TOKENS = 512
_WINDOW_OVERLAP = 128
_BATCH_TOKENS = 1024
_RESAMPLES = 10_000
_WAYS = ("alone", "titled", "late", "late_titled")


class _Model:
    def __init__(self, folder: Path) -> None:
        self._model = SentenceTransformer(str(folder), device="cpu")
        self._model.max_seq_length = _WINDOW_TOKENS
        tokenizer = self._model.tokenizer
        self._tokenize = tokenizer
        self._ends = tokenizer.cls_token_id, tokenizer.sep_token_id

    def embed(self, texts: list[str]) -> np.ndarray:
        with _arithmetic():
            return self._model.encode(texts, normalize_embeddings=True, show_progress_bar=False)

    def spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Give the ids of a text's tokens, and the characters of each."""
        found = self._tokenize(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False)
        return found["input_ids"], found["offset_mapping"]

    def token_vectors(self, texts: list[list[int]]) -> list[np.ndarray]:
        """Run the transformer over windows that overlap; a token's vector is that of the window it lies deepest in.

        Args:
            texts: Ids of the tokens of each text.

        Returns:
            (n_tokens, dim) float32 for each text.
        """
        depths = [np.full(len(ids), -1) for ids in texts]
        vectors = [np.zeros((len(ids), self._model.get_embedding_dimension()), np.float32) for ids in texts]
        windows = [(number, *window) for number, ids in enumerate(texts) for window in _windows(len(ids))]
        lengths = [end - start + 2 for _, start, end in windows]
        for batch in token_budget_batches(lengths, _BATCH_TOKENS):
            parts = [
                (number, start, end, texts[number][start:end]) for number, start, end in map(windows.__getitem__, batch)
            ]
            for (number, start, end, ids), found in zip(parts, self._run([part[3] for part in parts]), strict=True):
                places, n_tokens = np.arange(start, end), len(texts[number])
                # The ends of the text are no ends of a window.
                before = places - start if start else np.full(len(ids), n_tokens)
                after = end - 1 - places if end < n_tokens else np.full(len(ids), n_tokens)
                depth = np.minimum(before, after)
                deeper = depth > depths[number][start:end]
                depths[number][start:end][deeper] = depth[deeper]
                vectors[number][start:end][deeper] = found[1 : len(ids) + 1][deeper]
        return vectors

    def _run(self, texts: list[list[int]]) -> np.ndarray:
        longest = max(map(len, texts)) + 2
        tokens, is_token = torch.zeros(2, len(texts), longest, dtype=torch.int64)
        for row, ids in enumerate(texts):
            tokens[row, : len(ids) + 2] = torch.tensor([self._ends[0], *ids, self._ends[1]])
            is_token[row, : len(ids) + 2] = 1
        with torch.inference_mode(), _arithmetic():
            return self._model({"input_ids": tokens, "attention_mask": is_token})["token_embeddings"].float().numpy()


def main() -> None:
    torch.manual_seed(0)
    golden = GoldenQuestions.load(SAMPLE / "queries.jsonl", SAMPLE / "qrels.tsv")
    rows = [json.loads(line) for line in (SAMPLE / "corpus.jsonl").read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["text"].strip()]
    model = _Model(model_folder(EmbeddingSettings().model, PathSettings().models))
    owners, vectors = _chunk_vectors(model, rows)
    asked = [query_id for query_id in golden.queries if golden.qrels.get(query_id)]
    questions = model.embed([golden.queries[query_id] for query_id in asked])
    figures = {way: _figures(questions @ vectors[way].T, owners, rows, golden, asked) for way in _WAYS}
    for way, (ndcg, recall) in figures.items():
        print(f"{way:<12} nDCG@10 {ndcg.mean():.4f}  recall@100 {recall.mean():.4f}")
    differences = {
        f"{later} - {now}": [_interval(a - b) for a, b in zip(figures[later], figures[now], strict=True)]
        for later, now in (("late", "alone"), ("late", "titled"), ("late_titled", "titled"))
    }
    for name, (ndcg, recall) in differences.items():
        print(f"{name}: nDCG@10 {ndcg}, recall@100 {recall} (difference, 95% interval)")
    report(
        {
            **{f"ndcg10_{way}": round(float(ndcg.mean()), 4) for way, (ndcg, _) in figures.items()},
            **{f"recall100_{way}": round(float(recall.mean()), 4) for way, (_, recall) in figures.items()},
            "differences": differences,
            "documents": len(rows),
            "chunks": len(owners),
            "questions": len(asked),
        }
    )


def _arithmetic() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def _windows(n_tokens: int) -> Iterator[tuple[int, int]]:
    size = _WINDOW_TOKENS - 2
    start = 0
    while start + size < n_tokens:
        yield start, start + size
        start += size - _WINDOW_OVERLAP
    yield start, n_tokens


def _chunk_vectors(model: _Model, rows: list[dict[str, str]]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Give the document of every chunk, (n_chunks,), and the chunks' vectors in each way, (n_chunks, dim)."""
    owners: list[int] = []
    texts: dict[str, list[str]] = {"alone": [], "titled": []}
    late: dict[str, list[np.ndarray]] = {"late": [], "late_titled": []}
    spans = [model.spans(row["text"]) for row in rows]
    titles = [model.spans(row["title"])[0] for row in rows]
    plain_vectors = model.token_vectors([ids for ids, _ in spans])
    titled_vectors = model.token_vectors([[*title, *ids] for title, (ids, _) in zip(titles, spans, strict=True)])
    for number, (row, (ids, places)) in enumerate(zip(rows, spans, strict=True)):
        plain, titled = plain_vectors[number], titled_vectors[number][len(titles[number]) :]
        for start in range(0, len(ids), _CHUNK_TOKENS):
            end = min(start + _CHUNK_TOKENS, len(ids))
            text = row["text"][places[start][0] : places[end - 1][1]]
            owners.append(number)
            texts["alone"].append(text)
            texts["titled"].append(embedded_text(row["title"], "", text))
            late["late"].append(plain[start:end].mean(axis=0))
            late["late_titled"].append(titled[start:end].mean(axis=0))
    pooled = {way: np.stack(means) for way, means in late.items()}
    units = {way: means / np.linalg.norm(means, axis=1, keepdims=True) for way, means in pooled.items()}
    return np.array(owners), {**{way: model.embed(own) for way, own in texts.items()}, **units}


def _figures(
    scores: np.ndarray, owners: np.ndarray, rows: list[dict[str, str]], golden: GoldenQuestions, asked: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Give nDCG@10 and recall@100 of every question."""
    best = np.full((len(asked), len(rows)), -np.inf)
    np.maximum.at(best, (slice(None), owners), scores)
    order = np.argsort(-best, axis=1, kind="stable")[:, :100]
    found = [
        ir_measures.ScoredDoc(query_id, rows[position]["_id"], float(-rank))
        for query_id, row in zip(asked, order, strict=True)
        for rank, position in enumerate(row.tolist())
    ]
    judged = [ir_measures.Qrel(q, doc_id, grade) for q in asked for doc_id, grade in golden.qrels[q].items()]
    values = {(v.measure, v.query_id): v.value for v in ir_measures.iter_calc([nDCG @ 10, R @ 100], judged, found)}
    return (
        np.array([values[nDCG @ 10, query_id] for query_id in asked]),
        np.array([values[R @ 100, query_id] for query_id in asked]),
    )


def _interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Give the mean of paired differences and its 95% interval, by bootstrap over the questions."""
    drawn = np.random.default_rng(0).integers(0, len(differences), (_RESAMPLES, len(differences)))
    low, high = np.quantile(differences[drawn].mean(axis=1), (0.025, 0.975))
    return round(float(differences.mean()), 4), round(float(low), 4), round(float(high), 4)


if __name__ == "__main__":
    main()
