"""`make bench-embed`: our engine, bare and through Spark, against the loop that everyone writes first.

Three ways take turns over the same chunks, 2,048 or, with `--chunks`, another number (the same ones again, where that
is more than there are); the ratios are medians over the rounds. On a machine with an NVIDIA GPU all of them compute
there, the loop in fp16.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from pyspark.sql import DataFrame, SparkSession
from sentence_transformers import SentenceTransformer

from benchmarks.machine import SAMPLE, report
from benchmarks.real_chunks import real_chunks
from forebay.chunks import embedded_text
from forebay.embedding.choice import candidate_specs, resolve_spec
from forebay.embedding.engine import Engine, TokenBatch
from forebay.embedding.sentence_transformer import SentenceTransformerEmbedder, engine_of
from forebay.embedding.spec import EmbeddingSpec
from forebay.models import model_folder
from forebay.settings import EmbeddingSettings, PathSettings, SparkSettings
from spark_jobs.embed_chunks.transforms import vectors_of
from spark_jobs.gpu_executors import embedding_tasks
from spark_jobs.session import spark_session

_DIFFERENT_CHUNKS = 2048
_QUESTIONS = 60
_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class _Counted:
    """An engine that counts the tokens and the padding that it gets."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.n_tokens = self.n_places = 0

    @property
    def batch_tokens(self) -> int:
        return self._engine.batch_tokens

    def __call__(self, batches: Iterable[TokenBatch]) -> Iterator[np.ndarray]:
        return self._engine(self._counting(batches))

    def _counting(self, batches: Iterable[TokenBatch]) -> Iterator[TokenBatch]:
        for tokens, is_token in batches:
            self.n_tokens += int(is_token.sum())
            self.n_places += is_token.size
            yield tokens, is_token


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="times that each way embeds all chunks")
    parser.add_argument("--chunks", type=int, default=2048, help="chunks that each way embeds in a round")
    arguments = parser.parse_args()
    paths, settings = PathSettings(), EmbeddingSettings()
    folder = model_folder(settings.model, paths.models)
    rows = list(islice(cycle(real_chunks(folder, min(arguments.chunks, _DIFFERENT_CHUNKS))), arguments.chunks))
    texts = [embedded_text(row["title"], row["heading_path"], row["text"]) for row in rows]
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as data:
        # Without a corpus: the machine's own choice.
        spec = resolve_spec(settings, PathSettings(data=Path(data)))
        default = SentenceTransformer(str(folder), device=_DEVICE)
        if _DEVICE == "cuda":
            default.half()
        counted = _Counted(engine_of(spec, folder, paths.models))
        bare = SentenceTransformerEmbedder(spec, folder, counted, batch_tokens=settings.batch_tokens)
        with spark_session("embedding speed", SparkSettings(), PathSettings(data=Path(data))) as spark:
            # Of this process's own loops; Spark's workers are many, and have one thread each.
            os.environ["TOKENIZERS_PARALLELISM"] = "true"
            ways: dict[str, Callable[[], object]] = {
                "default": lambda: default.encode(texts, batch_size=32, show_progress_bar=False),
                "bare": lambda: bare.embed_documents(texts),
                "spark": _through_spark(spark, rows, spec, paths, settings),
            }
            wake = _through_spark(spark, rows[:64], spec, paths, settings)
            bare.embed_documents(texts[:64])
            default.encode(texts[:64], batch_size=32)
            counted.n_tokens = counted.n_places = 0
            rounds = [_round(number, len(rows), ways, wake) for number in range(1, arguments.rounds + 1)]
    n_tokens, n_places = counted.n_tokens // len(rounds), counted.n_places // len(rounds)
    expected = default.encode(texts[:512], batch_size=32, normalize_embeddings=True, show_progress_bar=False)
    cosines = (bare.embed_documents(texts[:512]) * expected).sum(axis=1)
    fastest_s = statistics.median(seconds["bare"] for seconds in rounds)
    peaks = _peaks(folder)
    work = _operations(folder, [len(e) for e in default.tokenizer(texts, truncation=True)["input_ids"]])
    report(
        {
            "texts_per_s": round(len(rows) / fastest_s, 1),
            "tokens_per_s": round(n_tokens / fastest_s),
            "ratio_vs_st_default": _median_ratio(rounds, "default", "bare"),
            "ratio_vs_bare_loop": _median_ratio(rounds, "bare", "spark"),
            "cos_mean": round(float(cosines.mean()), 5),
            "cos_min": round(float(cosines.min()), 5),
            "pad_share": round(1 - n_tokens / n_places, 4),
            "peak_share": round(work / fastest_s / 1e9 / peaks["bf16"], 2),
            "own_peak_share": round(work / fastest_s / 1e9 / peaks[spec.precision], 2),
            "peak_giga_operations_per_s": peaks,
            "question_ms": _question_ms(settings, folder, paths),
            "engine": f"{spec.engine} {spec.precision}",
            "gpu": torch.cuda.get_device_name() if _DEVICE == "cuda" else "none here, so nothing was measured on one",
        }
    )


def _through_spark(
    spark: SparkSession,
    rows: list[dict[str, str]],
    spec: EmbeddingSpec,
    paths: PathSettings,
    settings: EmbeddingSettings,
) -> Callable[[], None]:
    frame: DataFrame = spark.createDataFrame(rows, "text_hash string, title string, heading_path string, text string")
    frame.persist().count()

    def embed() -> None:
        tasks = embedding_tasks(spec.engine, SparkSettings(), spark.sparkContext.defaultParallelism)
        vectors = vectors_of(frame, spec, paths.models, tasks=tasks, batch_tokens=settings.batch_tokens, run_id="bench")
        vectors.write.format("noop").mode("overwrite").save()

    return embed


def _round(
    number: int, n_chunks: int, ways: dict[str, Callable[[], object]], wake: Callable[[], object]
) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for name, way in ways.items():
        if name == "spark":
            # Spark ends workers that were idle for a minute, and with them the loaded models.
            wake()
        seconds[name] = _seconds(way)
    rates = ", ".join(f"{name} {n_chunks / s:.1f} texts/s" for name, s in seconds.items())
    print(f"round {number}: {rates}", flush=True)
    return seconds


def _seconds(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    if _DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _median_ratio(rounds: list[dict[str, float]], slower: str, faster: str) -> float:
    return round(statistics.median(seconds[slower] / seconds[faster] for seconds in rounds), 3)


def _shapes(folder: Path) -> tuple[int, list[tuple[int, int]]]:
    """Give the number of layers, and inputs and outputs of the linear maps of one."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    return config["num_hidden_layers"], [(hidden, hidden)] * 4 + [(hidden, inner), (inner, hidden)]


def _operations(folder: Path, lengths: list[int]) -> float:
    """Count the operations of a forward pass without padding: two for each weight and token, and attention's."""
    n_layers, shapes = _shapes(folder)
    linear = 2 * sum(n_in * n_out for n_in, n_out in shapes)
    return n_layers * sum(length * (linear + 4 * length * shapes[0][0]) for length in lengths)


def _peaks(folder: Path) -> dict[str, float]:
    """Measure the best rate of matrix multiplication over the model's shapes, for each arithmetic."""
    peaks = {"fp32": 0.0, "fp16": 0.0, "bf16": 0.0, "int8": 0.0}
    for n_in, n_out in set(_shapes(folder)[1]):
        for n_rows in (256, 1024, 2048):
            left, right = torch.randn(n_rows, n_in, device=_DEVICE), torch.randn(n_in, n_out, device=_DEVICE)
            small = (left.to(torch.int8), right.to(torch.int8))
            halves = {"fp16": (left.half(), right.half()), "bf16": (left.bfloat16(), right.bfloat16())}
            pairs = {"fp32": (left, right), **halves, "int8": small}
            for name, (a, b) in pairs.items():
                multiply = torch._int_mm if name == "int8" else torch.mm
                seconds = min(_seconds(lambda f=multiply, x=a, y=b: f(x, y)) for _ in range(20))
                peaks[name] = max(peaks[name], round(2 * n_rows * n_in * n_out / seconds / 1e9, 1))
    return peaks


def _question_ms(settings: EmbeddingSettings, folder: Path, paths: PathSettings) -> dict[str, float]:
    """Measure the median time that one question takes, for each engine."""
    lines = (SAMPLE / "queries.jsonl").read_text("utf-8").splitlines()[:_QUESTIONS]
    questions = [json.loads(line)["text"] for line in lines]
    found: dict[str, float] = {}
    for spec in candidate_specs(settings, folder):
        embedder = SentenceTransformerEmbedder(spec, folder, engine_of(spec, folder, paths.models))
        embedder.embed_queries(questions[:1])
        seconds = [_seconds(lambda e=embedder, q=question: e.embed_queries([q])) for question in questions]
        found[f"{spec.engine} {spec.precision}"] = round(1000 * statistics.median(seconds), 2)
    return found


if __name__ == "__main__":
    main()
