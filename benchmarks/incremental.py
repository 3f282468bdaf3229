"""What a change costs: 20,000 documents from source to release, then 1% of them changed, then 1,000 removed."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.generated_corpus import TextGenerator, write_files
from benchmarks.machine import report
from benchmarks.watched_run import WatchedRun, run_assets
from forebay.embedding.sentence_transformer import load_embedder
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings
from forebay.store.access import EVERYTHING
from forebay.store.contract import SearchMode, SearchRequest
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.tables import chunk_table, document_table, embedding_table

_ASSETS = ["documents", "golden_questions", "chunks", "embeddings", "index_shards", "evaluation", "release"]
_SEED = 11


def _run(name: str, source: Path, paths: PathSettings) -> WatchedRun:
    run = run_assets(_ASSETS, [str(source)], paths.data)
    stages = {asset: figures["seconds"] for asset, figures in run.assets.items() if "seconds" in figures}
    print(f"{name}: {run.seconds:.1f} s, start-up {run.startup_s:.1f} s, stages {stages}", flush=True)
    return run


def _findable(removed: list[tuple[str, str]], paths: PathSettings) -> int:
    """Count the removed documents that the current release still finds by id, by words or by vector."""
    manifest = ReleaseRegistry(paths.releases).current()
    assert manifest is not None
    embedder = load_embedder(manifest.embedding, paths.models)
    release = QdrantEdgeStore(paths.shards, manifest.embedding, manifest.index).open(manifest)
    gone = {doc_id for doc_id, _ in removed}
    found = {doc_id for doc_id in gone if release.count({"doc_id": doc_id})}
    for start in range(0, len(removed), 100):
        part = removed[start : start + 100]
        vectors = embedder.embed_queries([text for _, text in part])
        for mode in (SearchMode.DENSE, SearchMode.BM25):
            asked = [
                SearchRequest(text, vector, 20, mode, caller=EVERYTHING)
                for (_, text), vector in zip(part, vectors, strict=True)
            ]
            found |= {hit.doc_id for hits in release.search(asked) for hit in hits} & gone
    release.close()
    for table, column in ((document_table(paths.tables), "doc_id"), (chunk_table(paths.tables), "doc_id")):
        found |= table.held_keys(column, gone)
    return len(found)


def _tables_agree(paths: PathSettings, n_documents: int) -> bool:
    manifest = ReleaseRegistry(paths.releases).current()
    assert manifest is not None
    chunks = chunk_table(paths.tables).published()
    vectors = embedding_table(paths.tables, manifest.embedding).published_rows()
    assert chunks is not None
    texts = set(chunks.to_table(columns=["text_hash"])["text_hash"].to_pylist())
    return (
        document_table(paths.tables).published_rows() == manifest.documents == n_documents
        and chunks.count_rows() == manifest.chunks
        and len(texts) == vectors
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--removed", type=int, default=1_000)
    options = parser.parse_args()
    chosen = random.Random(_SEED)
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as name:
        source, paths = Path(name) / "source", PathSettings(data=Path(name) / "data")
        files = write_files(source, options.documents)
        full = _run("full", source, paths)
        generator = TextGenerator(_SEED)
        for path in chosen.sample(files, options.documents // 100):
            path.write_text(generator.text(), "utf-8")
        changed = _run("1% changed", source, paths)
        gone = chosen.sample(files, options.removed)
        removed = [(path.relative_to(source).as_posix(), path.read_text("utf-8")) for path in gone]
        for path in gone:
            path.unlink()
        _run(f"{options.removed} removed", source, paths)
        findable = _findable(removed, paths)
        agree = _tables_agree(paths, options.documents - options.removed)
    report(
        {
            "share_of_full": round((changed.seconds - changed.startup_s) / (full.seconds - full.startup_s), 4),
            "share_of_full_with_startup": round(changed.seconds / full.seconds, 4),
            "full_s": round(full.seconds, 1),
            "changed_s": round(changed.seconds, 1),
            "startup_s": round(changed.startup_s, 1),
            "documents": options.documents,
            "embedded": changed.assets["embeddings"]["rows_embedded"],
            "removed": options.removed,
            "removed_findable": findable,
            "tables_agree": agree,
        }
    )


if __name__ == "__main__":
    main()
