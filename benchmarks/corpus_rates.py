"""Rates that sizing needs, from a corpus that was ingested: sizes of its tables, one index shard, embedding by core."""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.machine import report
from forebay.candidates import Candidate
from forebay.chunks import embedded_text
from forebay.embedding.sentence_transformer import load_embedder
from forebay.embedding.spec import EmbeddingSpec
from forebay.settings import EmbeddingSettings, PathSettings
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.tables import Table, chunk_table, document_table, embedding_table
from spark_jobs.load_index.transforms import INDEXED_COLUMNS

_TEXTS = 400
_BATCH_ROWS = 2048


def _bytes_on_disk(table: Table) -> int:
    """Sum the data files of the published version; earlier versions' files are left out."""
    published = table.published()
    assert published is not None
    files = [file.path for fragment in published.get_fragments() for file in fragment.data_files()]
    return sum((Path(published.uri) / "data" / name).stat().st_size for name in files)


def _index(chunks: Table, embeddings: Table, candidate: Candidate) -> tuple[float, float]:
    """Build one shard of all chunks; gives chunks per second of processor time, and bytes per chunk."""
    published, vectors = chunks.published(), embeddings.published()
    assert published is not None
    assert vectors is not None
    made = vectors.to_table(columns=["text_hash", "vector"])
    place = {text_hash: row for row, text_hash in enumerate(made["text_hash"].to_pylist())}
    rows = published.to_table(columns=INDEXED_COLUMNS)
    wanted = [place[text_hash] for text_hash in rows["text_hash"].to_pylist()]
    rows = rows.append_column("vector", made["vector"].take(pa.array(wanted)).combine_chunks())
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        store = QdrantEdgeStore(Path(folder), candidate.embedding, candidate.index)
        began = time.process_time()
        ref = store.build_shard(0, "rates", rows.to_batches(max_chunksize=_BATCH_ROWS), None)
        return ref.chunks / (time.process_time() - began), ref.bytes / ref.chunks


def _embed(spec: EmbeddingSpec, texts: list[str], barrier: Barrier, seconds: "Queue[float]") -> None:
    embedder = load_embedder(spec, PathSettings().models, EmbeddingSettings().batch_tokens, threads=1)
    embedder.embed_documents(texts[:8])
    barrier.wait()
    began = time.monotonic()
    embedder.embed_documents(texts)
    seconds.put(time.monotonic() - began)


def _texts_per_s_core(spec: EmbeddingSpec, texts: list[str], n_processes: int) -> float:
    """Embed the same texts in every process, each with one thread; gives the rate of one of them."""
    context = multiprocessing.get_context("spawn")
    barrier, seconds = context.Barrier(n_processes), context.Queue()
    processes = [context.Process(target=_embed, args=(spec, texts, barrier, seconds)) for _ in range(n_processes)]
    for process in processes:
        process.start()
    taken = [seconds.get() for _ in processes]
    for process in processes:
        process.join()
    return len(texts) / (sum(taken) / len(taken))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="data folder of the corpus (FOREBAY_DATA)")
    paths = PathSettings(data=parser.parse_args().data)
    candidate = Candidate.load(paths.shards)
    if candidate is None:
        raise SystemExit(f"{paths.data} holds no index yet; run `forebay ingest` into it.")
    documents, chunks = document_table(paths.tables), chunk_table(paths.tables)
    embeddings = embedding_table(paths.tables, candidate.embedding)
    n_documents, published = documents.published_rows(), chunks.published()
    assert published is not None
    sample = published.head(_TEXTS, columns=["title", "heading_path", "text"]).to_pylist()
    texts = [embedded_text(row["title"], row["heading_path"], row["text"]) for row in sample]
    alone = _texts_per_s_core(candidate.embedding, texts, 1)
    together = _texts_per_s_core(candidate.embedding, texts, os.cpu_count() or 1)
    index_rate, index_bytes = _index(chunks, embeddings, candidate)
    report(
        {
            "texts_per_s_core": round(alone, 1),
            "parallel_efficiency": round(together / alone, 3),
            "chunks_per_doc": round(chunks.published_rows() / n_documents, 3),
            "index_chunks_per_s_core": round(index_rate, 1),
            "index_bytes_per_chunk": round(index_bytes),
            "bytes_per_doc_documents": round(_bytes_on_disk(documents) / n_documents),
            "bytes_per_doc_chunks": round(_bytes_on_disk(chunks) / n_documents),
            "bytes_per_doc_embeddings": round(_bytes_on_disk(embeddings) / n_documents),
            "documents": n_documents,
        }
    )


if __name__ == "__main__":
    main()
