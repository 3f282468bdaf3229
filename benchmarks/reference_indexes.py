"""Other libraries' vector indexes, asked the same questions in turns with ours.

hnswlib, and FAISS' exact, IVF, IVF of int8, and IVF of product quantization whose best are compared again by the whole
vectors. hnswlib and IVF get the least effort that finds as much as ours does, or the most that is tried.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.scale_corpus import ScaleCorpus
from forebay.settings import IndexSettings

__all__ = ["ROUNDS", "Truth", "Vectors", "against_references", "in_turns", "recall_of"]

ROUNDS = 3
"""How often every question is asked."""
_K = 10
_THREADS = 2
_EFFORTS = (1, 2, 4, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 192, 256, 384, 512)
# 4 * sqrt(n) lists, trained with 40 vectors each (FAISS, Guidelines to choose an index; it asks for at least 39).
_LISTS_PER_ROOT = 4
_TRAINED_PER_LIST = 40
# Numbers of a vector that product quantization puts into one byte.
_DIMS_PER_CODE = 8
# Candidates by their codes, for one that is wanted, which the whole vectors rank again: with 4, recall@10 of 100,000
# chunks ends at 0.943, however many lists are read; with 8 at 0.9995.
_REFINED = 8

Vectors = NDArray[np.float32]
Truth = list[set[str]]
"""For each question the ids of the chunks that should be found."""
Ask = Callable[[], list[str]]


def in_turns(ways: dict[str, list[Ask]]) -> tuple[dict[str, list[float]], dict[str, list[list[str]]]]:
    """Let the ways take turns question by question; gives each way's seconds, and what it found."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[list[str]]] = {name: [] for name in ways}
    for turn in range(ROUNDS):
        for questions in zip(*ways.values(), strict=True):
            for name, ask in zip(ways, questions, strict=True):
                began = time.perf_counter()
                answer = ask()
                times[name].append(time.perf_counter() - began)
                if turn == 0:
                    found[name].append(answer)
    return times, found


def recall_of(found: Sequence[Sequence[str]], truth: Truth) -> float:
    """Give the mean share of what should be found that was found."""
    return round(float(np.mean([len(true & set(one)) / len(true) for one, true in zip(found, truth, strict=True)])), 4)


def against_references(
    corpus: ScaleCorpus, ours: dict[str, list[Ask]], vectors: Vectors, truth: Truth, recall: float
) -> dict[str, Any]:
    """Build each reference that is installed, and let it answer in turns with ours, in one thread.

    Args:
        corpus: Whose vectors are indexed.
        ours: What is compared, by name: each asks every question.
        vectors: (n_questions, dim) float32, rows L2-normalised.
        truth: What exact search finds.
        recall: recall@10 of our index.
    """
    figures: dict[str, Any] = {"ratio_vs_hnswlib": None, "index_recall10": recall}
    for name, build_s, bytes_per_vector, effort, ask in _references(corpus, vectors, truth, recall):
        asks = [lambda one=one, ask=ask: ask(one) for one in vectors]
        ratios: dict[str, float] = {}
        # Each alone with it: threads that have just searched go on for a moment, waiting for more.
        for way, own in ours.items():
            times, found = in_turns({way: own, name: asks})
            mine, theirs = (1000 * float(np.median(times[one])) for one in (way, name))
            ratios[way] = round(mine / theirs, 2)
            print(f"{way} {mine:.3f} ms, {name} {theirs:.3f} ms", flush=True)
        figures[name] = {
            "effort": effort,
            "recall10": recall_of(found[name], truth),
            "p50_ms": round(theirs, 3),
            "ratios": ratios,
            "bytes_per_vector": bytes_per_vector,
            "build_s": round(build_s),
        }
        print(name, figures[name], flush=True)
    if "hnswlib" in figures:
        figures["ratio_vs_hnswlib"] = figures["hnswlib"]["ratios"]["index"]
    return figures


_Reference = tuple[str, float, int, int, Callable[[Vectors], list[str]]]


def _references(corpus: ScaleCorpus, vectors: Vectors, truth: Truth, recall: float) -> Iterator[_Reference]:
    """Give one reference after the other, so that only one is in memory."""
    try:
        yield _hnswlib(corpus, vectors, truth, recall)
    except ImportError:
        print("hnswlib isn't installed, so nothing is compared with it", flush=True)
    for name in ("faiss_exact", "faiss_ivf", "faiss_ivf_int8", "faiss_ivf_pq_refined"):
        try:
            yield _faiss(name, corpus, vectors, truth, recall)
        except ImportError:
            print(f"faiss isn't installed, so nothing is compared with {name}", flush=True)


def _hnswlib(corpus: ScaleCorpus, vectors: Vectors, truth: Truth, recall: float) -> _Reference:
    import hnswlib

    settings = IndexSettings()
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(corpus.size, M=settings.hnsw_m, ef_construction=settings.hnsw_ef_construct)
    began = time.monotonic()
    for shard in range(corpus.shards):
        index.add_items(corpus.vectors(shard), np.asarray(corpus.numbers(shard)), num_threads=_THREADS)
    build_s = time.monotonic() - began

    def ask(question: Vectors) -> list[str]:
        labels, _ = index.knn_query(question[None], _K, num_threads=1)
        return [str(label) for label in labels[0]]

    efforts = [effort for effort in _EFFORTS if effort >= _K]
    effort = _least_effort(efforts, index.set_ef, ask, vectors, truth, recall)
    # The vector, and at most 2 M neighbours of 4 bytes in the lowest layer.
    return "hnswlib", build_s, 4 * vectors.shape[1] + 8 * settings.hnsw_m, effort, ask


def _faiss(name: str, corpus: ScaleCorpus, vectors: Vectors, truth: Truth, recall: float) -> _Reference:
    import faiss

    dim = vectors.shape[1]
    lists = max(1, int(_LISTS_PER_ROOT * corpus.size**0.5))
    kind, n_bytes = {
        "faiss_exact": ("Flat", 4 * dim),
        "faiss_ivf": (f"IVF{lists},Flat", 4 * dim),
        "faiss_ivf_int8": (f"IVF{lists},SQ8", dim),
        "faiss_ivf_pq_refined": (f"IVF{lists},PQ{dim // _DIMS_PER_CODE},RFlat", dim // _DIMS_PER_CODE + 4 * dim),
    }[name]
    index = faiss.index_factory(dim, kind, faiss.METRIC_INNER_PRODUCT)
    # The part that reads lists.
    ivf = None if name == "faiss_exact" else faiss.downcast_index(faiss.extract_index_ivf(index))
    if name == "faiss_ivf_pq_refined":
        # The factory turns it on, for searches by Hamming distance: 81 instead of 8 s of a core (48 bytes a vector,
        # 65,536 of them).
        ivf.do_polysemous_training = False
        index.k_factor = _REFINED
    faiss.omp_set_num_threads(_THREADS)
    began = time.monotonic()
    if not index.is_trained:
        part = -(-_TRAINED_PER_LIST * lists // corpus.shards)
        index.train(np.concatenate([corpus.vectors(shard)[:part] for shard in range(corpus.shards)]))
    numbers: list[int] = []
    for shard in range(corpus.shards):
        index.add(corpus.vectors(shard))
        numbers += np.asarray(corpus.numbers(shard)).tolist()
    build_s = time.monotonic() - began
    faiss.omp_set_num_threads(1)

    def ask(question: Vectors) -> list[str]:
        _, found = index.search(question[None], _K)
        return [str(numbers[place]) for place in found[0] if place >= 0]

    def probe(effort: int) -> None:
        if ivf is not None:
            ivf.nprobe = min(effort, lists)

    efforts = [1] if ivf is None else list(_EFFORTS)
    return name, build_s, n_bytes, _least_effort(efforts, probe, ask, vectors, truth, recall), ask


def _least_effort(
    efforts: Sequence[int],
    choose: Callable[[int], None],
    ask: Callable[[Vectors], list[str]],
    vectors: Vectors,
    truth: Truth,
    recall: float,
) -> int:
    """Choose the least effort that reaches the recall, or else the least of those that find the most."""
    reached: dict[int, float] = {}
    for effort in efforts:
        choose(effort)
        reached[effort] = recall_of([ask(question) for question in vectors], truth)
        if reached[effort] >= recall:
            return effort
    best = max(efforts, key=lambda effort: reached[effort])
    choose(best)
    return best
