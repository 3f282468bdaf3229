"""Build the index shards whose content changed, and name the candidate for the next release."""

from forebay.candidates import Candidate
from forebay.embedding.sentence_transformer import resolve_spec
from forebay.errors import DataError, IndexBuildError
from forebay.settings import EmbeddingSettings, IndexSettings, PathSettings, SparkSettings
from forebay.store.contract import ShardRef
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.tables import chunk_table, document_table, embedding_table
from quality.validate import CheckOutcome
from spark_jobs.lance_source import read_lance
from spark_jobs.load_index.transforms import INDEXED_COLUMNS, built_shards, refs_of, shard_contents
from spark_jobs.pipes import JobOrders, Reporter, run_job
from spark_jobs.session import spark_session

__all__ = ["INDEX_CHECKS", "load_index"]

INDEX_CHECKS = ("shards_hold_every_chunk",)
"""Names of the checks that this job reports."""


def load_index(orders: JobOrders, report: Reporter) -> None:
    """Build what changed; see the module."""
    paths, settings = PathSettings(), IndexSettings()
    spec = resolve_spec(EmbeddingSettings(), paths)
    chunks, embeddings = chunk_table(paths.tables), embedding_table(paths.tables, spec)
    versions = {
        "documents": document_table(paths.tables).published_version(),
        "chunks": chunks.published_version(),
        "embeddings": embeddings.published_version(),
    }
    known = {name: version for name, version in versions.items() if version is not None}
    if len(known) < len(versions):
        raise DataError("there are no published embeddings yet; materialize the asset `embeddings` first.")
    previous = Candidate.load(paths.shards)
    if previous is not None and (previous.embedding, previous.index) != (spec, settings):
        previous = None
    store = QdrantEdgeStore(paths.shards, spec, settings)
    if previous is not None and previous.table_versions == known and _are_built(store, previous):
        refs, built = previous.shards, 0
        report.progress("nothing changed")
    else:
        with spark_session("load_index", SparkSettings(), paths) as spark:
            rows = read_lance(spark, chunks.uri, version=known["chunks"], columns=INDEXED_COLUMNS, where=orders.where)
            contents = shard_contents(rows, spec, settings)
            found = {number: store.find_shard(number, content) for number, content in contents.items()}
            refs = {number: ref for number, ref in found.items() if ref is not None}
            missing = {number: contents[number] for number, ref in found.items() if ref is None}
            built = len(missing)
            report.progress(f"building {built} of {len(contents)} shards")
            if missing:
                vectors = read_lance(spark, embeddings.uri, version=known["embeddings"])
                made = built_shards(rows, vectors, missing, root=paths.shards, spec=spec, settings=settings)
                refs |= {ref.number: ref for ref in refs_of(made)}
        others = {} if previous is None else previous.shards
        refs = {number: ref for number, ref in others.items() if number not in orders.shards} | refs
    _report(orders, report, refs, built, chunks.published_rows(orders.where))
    Candidate(embedding=spec, index=settings, shards=refs, table_versions=known).save(paths.shards)


def _are_built(store: QdrantEdgeStore, candidate: Candidate) -> bool:
    return all(store.find_shard(ref.number, ref.content) == ref for ref in candidate.shards.values())


def _report(orders: JobOrders, report: Reporter, refs: dict[int, ShardRef], built: int, expected: int) -> None:
    covered = [ref for number, ref in sorted(refs.items()) if number in orders.shards]
    held = sum(ref.chunks for ref in covered)
    report.checks([CheckOutcome(INDEX_CHECKS[0], held == expected, {"chunks": expected, "indexed": held})])
    report.materialization(
        rows=held,
        size_bytes=sum(ref.bytes for ref in covered),
        changed={"shards_built": built, "shards_kept": len(covered) - built},
        chunks_per_shard={f"s{ref.number:03d}": ref.chunks for ref in covered},
    )
    if held != expected:
        raise IndexBuildError(f"the shards hold {held} chunks, the chunk table {expected}.")


if __name__ == "__main__":
    run_job(load_index)
