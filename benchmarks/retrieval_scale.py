"""`make bench-retrieval SIZE=1000000`: the embedded store at scale, without embedding and HTTP.

Shards are built by the product's own store, two at a time as Spark's two cores do; then one client and eight ask the
processes that search them.
Recall is against exact search over all vectors. hnswlib and FAISS, where their wheels are there (`pip install hnswlib
faiss-cpu`), answer the same questions in turns with the index of vectors alone, and with dense searches. A release is
switched while 50 searches a second arrive, answered late or not.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import psutil
from numpy.typing import NDArray
from qdrant_edge import Query, QueryBatchRequest, QueryRequest

from benchmarks.machine import report
from benchmarks.reference_indexes import ROUNDS, Truth, Vectors, against_references, in_turns, recall_of
from benchmarks.scale_corpus import SELECTIVITIES, ScaleCorpus, document_of, fit_corpus
from bentos.retriever.switching import Opened, ReleaseFollower
from forebay.embedding.choice import resolve_spec
from forebay.embedding.sentence_transformer import load_embedder
from forebay.embedding.spec import EmbeddingSpec
from forebay.releases import Evaluation, ReleaseManifest, ReleaseRegistry, now
from forebay.settings import EmbeddingSettings, IndexSettings, PathSettings
from forebay.store.contract import OpenRelease, SearchMode, SearchRequest, ShardRef
from forebay.store.opening import open_index
from forebay.store.qdrant_build import DENSE
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.store.qdrant_effort import search_params
from forebay.store.qdrant_opening import open_together
from forebay.store.query_rules import MIN_CANDIDATES
from forebay.store.search_processes import SearchProcesses

_K = 10
_BUILDERS = 2
_CLIENTS = 8
_SWITCH_RATE = 50.0
_SWITCH_S = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000, help="chunks")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2, help="processes that search; 0: this one")
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--folder", type=Path, help="keep the shards here, and take those that are here already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as temporary:
        folder = options.folder or Path(temporary)
        spec = resolve_spec(EmbeddingSettings(), PathSettings(data=Path(temporary)))
        corpus = fit_corpus(load_embedder(spec, PathSettings().models), options.size, options.shards)
        built = _build(corpus, spec, folder)
        texts, vectors = corpus.questions(options.questions)
        truths = _truths(corpus, vectors)
        opening = _Opening(PathSettings(data=folder), options.processes)
        figures = _measure(corpus, _manifest(spec, built["refs"], "scale"), opening, texts, vectors, truths)
        switch = _switch(spec, built["refs"], opening, texts, vectors)
    asked = {"size": options.size, "shards": options.shards, "processes": options.processes}
    report({**asked, **figures, **built["figures"], **switch})


@dataclass(frozen=True)
class _Opening:
    """How a release is opened, as the retriever does."""

    paths: PathSettings
    processes: int

    def __call__(self, manifest: ReleaseManifest) -> OpenRelease:
        if self.processes:
            return SearchProcesses(manifest, self.paths, self.processes)
        return open_index(manifest, self.paths)


def _build(corpus: ScaleCorpus, spec: EmbeddingSpec, folder: Path) -> dict[str, Any]:
    kept = folder / f"built-{corpus.size}-{corpus.shards}.json"
    if kept.exists():
        known = json.loads(kept.read_text())
        return {"refs": [ShardRef.model_validate(ref) for ref in known["refs"]], "figures": known["figures"]}
    began, refs = time.monotonic(), list[ShardRef]()
    with _PeakMemory() as memory, ProcessPoolExecutor(_BUILDERS, multiprocessing.get_context("spawn")) as builders:
        jobs = [builders.submit(_build_shard, corpus, spec, folder, shard) for shard in range(corpus.shards)]
        for job in jobs:
            refs.append(job.result())
            done = sum(ref.chunks for ref in refs)
            print(f"built {done} of {corpus.size} chunks in {time.monotonic() - began:.0f} s", flush=True)
    figures = {
        "build_s": round(time.monotonic() - began),
        "peak_mb": round(memory.peak / 2**20),
        "disk_mb": round(sum(ref.bytes for ref in refs) / 2**20),
        "ann_recall10": min(ref.ann_recall10 or 0.0 for ref in refs),
    }
    print(figures, flush=True)
    kept.write_text(json.dumps({"refs": [ref.model_dump() for ref in refs], "figures": figures}))
    return {"refs": refs, "figures": figures}


def _build_shard(corpus: ScaleCorpus, spec: EmbeddingSpec, folder: Path, shard: int) -> ShardRef:
    content = f"scale-{corpus.size}-{corpus.shards}"
    store = QdrantEdgeStore(PathSettings(data=folder).shards, spec, IndexSettings())
    return store.build_shard(shard, content, corpus.batches(shard))


class _PeakMemory:
    """Watches the memory of this process and all of its children: pages of files that are mapped don't count."""

    def __enter__(self) -> "_PeakMemory":
        self.peak, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            this = psutil.Process()
            self.peak = max(self.peak, sum(_anonymous_bytes(one) for one in [this, *this.children(recursive=True)]))


def _anonymous_bytes(process: psutil.Process) -> int:
    try:
        found = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return found.rss - found.shared


def _truths(corpus: ScaleCorpus, questions: Vectors) -> dict[str, Truth]:
    """Find the nearest chunks of each question exactly: among all, and among those of each filter."""
    every = {"all": 1} | {name: modulus for name, (_, modulus) in SELECTIVITIES.items()}
    best: dict[str, list[tuple[NDArray[np.float32], NDArray[np.int64]]]] = {name: [] for name in every}
    for shard in range(corpus.shards):
        numbers = np.asarray(corpus.numbers(shard))
        similarity = questions @ corpus.vectors(shard).T
        for name, modulus in every.items():
            kept = np.flatnonzero(numbers % modulus == 0)
            if len(kept):
                part = similarity[:, kept]
                order = np.argsort(-part, axis=1)[:, :_K]
                best[name].append((np.take_along_axis(part, order, axis=1), numbers[kept][order]))
    truths: dict[str, Truth] = {}
    for name, parts in best.items():
        scores, found = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
        order = np.argsort(-scores, axis=1)[:, :_K]
        truths[name] = [{str(number) for number in row} for row in np.take_along_axis(found, order, axis=1).tolist()]
    return truths


def _measure(
    corpus: ScaleCorpus,
    manifest: ReleaseManifest,
    opening: _Opening,
    texts: Sequence[str],
    vectors: Vectors,
    truths: dict[str, Truth],
) -> dict[str, Any]:
    began = time.monotonic()
    release = opening(manifest)
    opened_s = time.monotonic() - began
    try:
        hybrid = [SearchRequest(text, vector, _K) for text, vector in zip(texts, vectors, strict=True)]
        once = [SearchRequest(text, vector, _K, feedback=False) for text, vector in zip(texts, vectors, strict=True)]
        dense = [SearchRequest(text, vector, _K, SearchMode.DENSE) for text, vector in zip(texts, vectors, strict=True)]
        bm25 = [SearchRequest(text, vector, _K, SearchMode.BM25) for text, vector in zip(texts, vectors, strict=True)]
        for request in hybrid:
            release.search([request])
        ways = {"hybrid": hybrid, "hybrid_once": once, "dense": dense, "bm25": bm25}
        times, found = in_turns({name: [_asking(release, one) for one in ways[name]] for name in ways})
        figures: dict[str, Any] = {"recall10": recall_of(found["dense"], truths["all"]), "open_s": round(opened_s, 1)}
        for name, seconds in times.items():
            p50, p99 = np.percentile(seconds, [50, 99]) * 1000
            print(f"{name:<12} p50 {p50:.2f} ms, p99 {p99:.2f} ms", flush=True)
            prefix = "" if name == "hybrid" else f"{name}_"
            figures |= {f"{prefix}p50_ms": round(float(p50), 2), f"{prefix}p99_ms": round(float(p99), 2)}
        figures["qps8"] = _throughput(release, hybrid)
        figures["hybrid_once_qps8"] = _throughput(release, once)
        figures["prefilter"] = _prefilter(release, texts, vectors, truths)
        print({name: figures[name] for name in ("recall10", "qps8", "prefilter")}, flush=True)
        threads = min(len(manifest.shards), os.cpu_count() or 1)
        with (
            _index(manifest, opening.paths, threads) as index,
            _index(manifest, opening.paths, 1) as index_in_one_thread,
        ):
            ours = {
                "index": [lambda one=vector: index(one) for vector in vectors],
                "index_in_one_thread": [lambda one=vector: index_in_one_thread(one) for vector in vectors],
                "search": [_asking(release, request) for request in dense],
            }
            recall = recall_of([ask() for ask in ours["index"]], truths["all"])
            return figures | against_references(corpus, ours, vectors, truths["all"], recall)
    finally:
        release.close()


@contextmanager
def _index(manifest: ReleaseManifest, paths: PathSettings, threads: int) -> Generator[Callable[[Vectors], list[str]]]:
    """Open the shards in this process, to ask for the ten nearest vectors alone, walking as far as a search does."""
    folders = [paths.shards / ref.path for ref in manifest.shards]
    shard = open_together(folders, threads)
    params = search_params(MIN_CANDIDATES, manifest.index, len(folders))

    def ask(question: Vectors) -> list[str]:
        query = QueryRequest(limit=_K, query=Query.Nearest(question.tolist(), using=DENSE), params=params)
        (found,) = shard.query_batch(QueryBatchRequest([query]))
        return [document_of(cast("UUID", point.id)) for point in found]

    try:
        yield ask
    finally:
        shard.close()


def _asking(release: OpenRelease, request: SearchRequest) -> Callable[[], list[str]]:
    return lambda: [hit.doc_id for hit in release.search([request])[0]]


def _throughput(release: OpenRelease, requests: list[SearchRequest]) -> float:
    """Let eight clients ask, each its next question as soon as it has an answer; gives searches/s."""
    work = requests * ROUNDS
    with ThreadPoolExecutor(_CLIENTS) as clients:
        began = time.perf_counter()
        for _ in clients.map(lambda request: release.search([request]), work):
            pass
        return round(len(work) / (time.perf_counter() - began), 1)


def _prefilter(
    release: OpenRelease, texts: Sequence[str], vectors: Vectors, truths: dict[str, Truth]
) -> dict[str, dict[str, float]]:
    pairs = list(zip(texts, vectors, strict=True))
    ways = {"all": [_asking(release, SearchRequest(text, vector, _K)) for text, vector in pairs]}
    wheres = {name: {f"metadata.{field}": 0} for name, (field, _) in SELECTIVITIES.items()}
    for name, where in wheres.items():
        ways[name] = [_asking(release, SearchRequest(text, vector, _K, where=where)) for text, vector in pairs]
    times, _ = in_turns(ways)
    unfiltered = float(np.median(times["all"]))
    figures: dict[str, dict[str, float]] = {}
    for name, where in wheres.items():
        asked = [SearchRequest(text, vector, _K, SearchMode.DENSE, where=where) for text, vector in pairs]
        found = [[hit.doc_id for hit in release.search([request])[0]] for request in asked]
        p50 = float(np.median(times[name]))
        figures[name] = {
            "recall10": recall_of(found, truths[name]),
            "p50_ms": round(1000 * p50, 2),
            "ratio": round(p50 / unfiltered, 2),
        }
    return figures


def _manifest(spec: EmbeddingSpec, refs: Sequence[ShardRef], corpus: str) -> ReleaseManifest:
    return ReleaseManifest(
        corpus=corpus,
        embedding=spec,
        index=IndexSettings(),
        shards=tuple(refs),
        documents=sum(ref.chunks for ref in refs),
        table_versions={},
        evaluation=Evaluation(questions=0),
        created_at=now(),
    )


def _switch(
    spec: EmbeddingSpec, refs: Sequence[ShardRef], opening: _Opening, texts: Sequence[str], vectors: Vectors
) -> dict[str, Any]:
    """Promote another release of the same shards while searches arrive at a steady rate."""
    registry = ReleaseRegistry(opening.paths.releases)
    one, other = (registry.save(_manifest(spec, refs, name)).release_id for name in ("one", "other"))
    embedder = load_embedder(spec, PathSettings().models)

    def open_release(manifest: ReleaseManifest) -> Opened:
        opened = opening(manifest)
        opened.search([SearchRequest(texts[0], vectors[0], _K)])
        return Opened(opened, embedder)

    def search(number: int, due: float) -> tuple[float, float, str]:
        time.sleep(max(0.0, due - time.perf_counter()))
        with follower.lease() as opened:
            if opened is None:
                return due, 0.0, ""
            at = number % len(texts)
            opened.release.search([SearchRequest(texts[at], vectors[at], _K)])
            return due, time.perf_counter() - due, opened.release.manifest.release_id

    follower = ReleaseFollower(registry, open_release)
    registry.promote(one, shards=opening.paths.shards)
    follower.refresh()
    n = int(2 * _SWITCH_S * _SWITCH_RATE)
    began = time.perf_counter() + 0.1
    with ThreadPoolExecutor(64) as clients:
        jobs = [clients.submit(search, number, began + number / _SWITCH_RATE) for number in range(n)]
        time.sleep(_SWITCH_S)
        switching = time.perf_counter()
        (opening.paths.releases / "current").write_text(other)
        follower.refresh()
        switched = time.perf_counter()
        answers = [job.result() for job in jobs]
    follower.stop()
    before = [seconds for due, seconds, _ in answers if due < switching]
    during = [seconds for due, seconds, _ in answers if switching <= due < switched + 1]
    p99_before, p99_during = (1000 * float(np.percentile(part, 99)) for part in (before, during))
    return {
        "switch_failed": sum(not release for *_, release in answers),
        "switch_s": round(switched - switching, 2),
        "switch_p99_ms": round(p99_during, 1),
        "switch_p99_before_ms": round(p99_before, 1),
        "switch_p99_ratio": round(p99_during / p99_before, 2),
    }


if __name__ == "__main__":
    main()
