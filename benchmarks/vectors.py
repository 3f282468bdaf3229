"""`make bench-vectors`: what smaller vectors cost, on 100,000 real chunks, by the product's own store.

Each way of making vectors smaller builds one shard; then the ways take turns at answering the same questions, alone and
one at a time. Recall is against exact search with the whole vectors: first sentences of documents that are not in the
index. nDCG@10 is that of Cranfield's questions, whose documents lie among all the other texts.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import SAMPLE, report
from benchmarks.vector_corpus import VectorCorpus, load_vector_corpus
from forebay.embedding import Embedder
from forebay.embedding.choice import resolve_spec
from forebay.embedding.sentence_transformer import load_embedder
from forebay.embedding.spec import EmbeddingSpec
from forebay.golden import GoldenQuestions
from forebay.releases import Evaluation, ReleaseManifest, now
from forebay.settings import EmbeddingSettings, IndexSettings, PathSettings
from forebay.store.access import EVERYTHING
from forebay.store.contract import OpenRelease, SearchMode, SearchRequest
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.store.reduction import Reduction
from quality.retrieval import evaluate
from quality.vectors import nearest

_K = 10
_VARIANTS = {
    "fp32": IndexSettings(quantization="none"),
    "int8": IndexSettings(),
    "product": IndexSettings(quantization="product"),
    "binary": IndexSettings(quantization="binary"),
    "pca 256, int8": IndexSettings(reduction="pca", dimensions=256),
    "pca 128, int8": IndexSettings(reduction="pca", dimensions=128),
    "truncate 256, int8": IndexSettings(reduction="truncate", dimensions=256),
    "truncate 128, int8": IndexSettings(reduction="truncate", dimensions=128),
}
_SAMPLE_ROWS = 50_000
_SEED = 7
_VECTOR_FOLDERS = {"vector_storage-dense", "vector_index-dense"}
# Qdrant leaves fewer vectors whole and searches them without a graph (up to 10 MB of a segment).
_LEAST_CHUNKS = 20_000


@dataclass
class _Way:
    """One way of making vectors smaller, and what was measured of it."""

    release: OpenRelease
    bytes_per_vector: float
    disk_bytes_per_vector: float
    build_s: float
    explained: float | None
    latencies_s: list[float] = field(default_factory=list[float])
    found: list[list[str]] = field(default_factory=list[list[str]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3, help="times that each way answers all questions")
    parser.add_argument("--ways", nargs="*", choices=_VARIANTS, default=list(_VARIANTS))
    options = parser.parse_args()
    if options.chunks < _LEAST_CHUNKS:
        parser.error(f"{options.chunks} chunks are too few to be quantized; ask for {_LEAST_CHUNKS} at least")
    paths = PathSettings()
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        spec = resolve_spec(EmbeddingSettings(), PathSettings(data=Path(folder)))
        corpus = load_vector_corpus(spec, paths, options.chunks)
        embedder = load_embedder(spec, paths.models)
        questions = embedder.embed_queries(corpus.questions)
        ways = {name: _built(name, corpus, spec, Path(folder)) for name in options.ways}
        for _ in range(options.rounds):
            for way in ways.values():
                _ask(way, questions)
        figures = {name: _figures(way, corpus, questions, embedder) for name, way in ways.items()}
        for way in ways.values():
            way.release.close()
    for name, row in figures.items():
        print(f"{name:<20}", ", ".join(f"{key} {value}" for key, value in row.items()))
    report(
        {
            "chunks": corpus.rows.num_rows,
            "questions": len(corpus.questions),
            "engine": f"{spec.engine} {spec.precision}",
            "ways": figures,
        }
    )


def _built(name: str, corpus: VectorCorpus, spec: EmbeddingSpec, root: Path) -> _Way:
    settings = _VARIANTS[name]
    reduction = None
    if settings.reduction == "pca" and settings.dimensions:
        reduction = Reduction.fit(_sample(corpus.vectors), settings.dimensions, len(corpus.vectors))
    elif settings.reduction == "truncate" and settings.dimensions:
        reduction = Reduction.truncation(spec.dim, settings.dimensions)
    store = QdrantEdgeStore(root, spec, settings, reduction)
    began = time.monotonic()
    ref = store.build_shard(0, name.replace(" ", "-").replace(",", ""), corpus.rows.to_batches(max_chunksize=1024))
    build_s = time.monotonic() - began
    print(f"{name}: built in {build_s:.0f} s", flush=True)
    manifest = ReleaseManifest(
        corpus="benchmark",
        embedding=spec,
        index=settings,
        shards=(ref,),
        documents=corpus.rows.num_rows,
        table_versions={},
        evaluation=Evaluation(questions=0),
        created_at=now(),
    )
    explained = reduction.explained if reduction is not None and reduction.rows else None
    first_pass, on_disk = (n_bytes / corpus.rows.num_rows for n_bytes in _sizes(root / ref.path, settings))
    return _Way(store.open(manifest), first_pass, on_disk, build_s, explained)


def _sample(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Draw the vectors that a projection is fitted to; neighbours in the corpus are of one package."""
    rows = min(_SAMPLE_ROWS, len(vectors))
    return vectors[np.random.default_rng(_SEED).choice(len(vectors), rows, replace=False)]


def _sizes(shard: Path, settings: IndexSettings) -> tuple[int, int]:
    """Add up the bytes of the vectors that the graph is walked with, and of all files of vectors and graph on disk."""
    walked = "matrix.dat" if settings.quantization == "none" else "quantized.data"
    files = [path for path in shard.rglob("*") if path.is_file()]
    first_pass = sum(path.stat().st_size for path in files if path.name == walked)
    # The files have holes: their blocks are what they take.
    return first_pass, sum(path.stat().st_blocks * 512 for path in files if _VECTOR_FOLDERS & set(path.parts))


def _ask(way: _Way, questions: NDArray[np.float32]) -> None:
    way.found = []
    for question in questions:
        began = time.perf_counter()
        (hits,) = way.release.search([SearchRequest("", question, _K, SearchMode.DENSE, caller=EVERYTHING)])
        way.latencies_s.append(time.perf_counter() - began)
        way.found.append([hit.chunk_id for hit in hits])


def _figures(way: _Way, corpus: VectorCorpus, questions: NDArray[np.float32], embedder: Embedder) -> dict[str, float]:
    ids = np.array(corpus.rows.column("chunk_id").to_pylist())
    true = [set(ids[rows]) for rows in nearest(questions, corpus.vectors, _K)]
    golden = GoldenQuestions.load(SAMPLE / "queries.jsonl", SAMPLE / "qrels.tsv")
    ndcg = evaluate(way.release, embedder, golden, SearchMode.DENSE).ndcg10
    median = statistics.median(way.latencies_s)
    return {
        "bytes_per_vector": round(way.bytes_per_vector, 1),
        "disk_bytes_per_vector": round(way.disk_bytes_per_vector),
        "recall10": round(float(np.mean([len(a & set(b)) / _K for a, b in zip(true, way.found, strict=True)])), 4),
        "ndcg10": round(ndcg or 0.0, 4),
        "p50_ms": round(1000 * median, 2),
        "queries_per_s": round(len(way.latencies_s) / sum(way.latencies_s)),
        "build_s": round(way.build_s),
        **({} if way.explained is None else {"explained_variance": round(way.explained, 3)}),
    }


if __name__ == "__main__":
    main()
