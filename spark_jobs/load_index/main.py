"""Build the index shards whose content changed, and name the candidate for the next release."""

from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from forebay.candidates import Candidate
from forebay.documents import partition_key, partition_number
from forebay.embedding.choice import resolve_spec
from forebay.embedding.spec import EmbeddingSpec
from forebay.errors import DataError, IndexBuildError
from forebay.releases import release_id
from forebay.settings import (
    CorpusSettings,
    EmbeddingSettings,
    IndexSettings,
    PathSettings,
    ReleaseSettings,
    SparkSettings,
    WeaviateSettings,
)
from forebay.store.contract import ShardRef
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.store.reduction import configured_reduction
from forebay.tables import Table, chunk_table, document_table, embedding_table
from quality.suites.index import check_index
from spark_jobs.lance_frames import read_lance, read_lance_keys
from spark_jobs.load_index.transforms import (
    INDEXED_COLUMNS,
    KEY_COLUMNS,
    LAYOUTS,
    ShardDelta,
    built_shards,
    delta_of,
    refs_of,
    row_hashes,
    shard_contents,
    shard_identity,
)
from spark_jobs.pipes import JobOrders, Reporter, run_job
from spark_jobs.progress import told_progress
from spark_jobs.session import spark_session
from spark_jobs.side_by_side import side_by_side

if TYPE_CHECKING:
    from forebay.store.weaviate_shards import WeaviateShards

__all__ = ["load_index"]

# Beyond it, a shard is built anew: every change from a base leaves it a little less tidy.
_MAX_DELTA_SHARE = 0.2


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
    reduction = configured_reduction(paths, spec, settings)
    found = Candidate(
        embedding=spec,
        index=settings,
        layout=LAYOUTS[settings.store],
        reduction=reduction.fingerprint if reduction is not None else "",
        shards={},
        table_versions=known,
    )
    if previous is not None and not previous.is_built_like(found):
        previous = None
    store = QdrantEdgeStore(paths.shards, spec, settings, reduction)
    expected = chunks.published_rows(orders.where)
    is_in_files = settings.store == "embedded"
    is_same = is_in_files and previous is not None and previous.table_versions == known and _are_built(store, previous)
    release = ""
    if previous is not None and is_same and _indexed(orders, previous.shards) == expected:
        refs, built = previous.shards, 0
        report.started()
        report.progress("nothing changed")
    else:
        with spark_session("load_index", SparkSettings(), paths) as spark, told_progress(spark, report.progress):
            report.started()
            job = _IndexJob(spark, chunks, embeddings, known, orders, store, paths)
            identity = shard_identity(spec, settings, reduction)
            if is_in_files:
                refs, built = job.build(identity, previous, report)
            else:
                refs, built, release = job.load(identity, spec, settings, report)
            report.progress(f"{built} of {len(refs)} shards built")
    _report(orders, report, refs, built, expected)
    found.model_copy(update={"shards": refs, "release": release}).save(paths.shards)


class _IndexJob:
    """One run over the published chunks."""

    def __init__(
        self,
        spark: SparkSession,
        chunks: Table,
        embeddings: Table,
        versions: dict[str, int],
        orders: JobOrders,
        store: QdrantEdgeStore,
        paths: PathSettings,
    ) -> None:
        self._spark = spark
        self._chunks = chunks
        self._embeddings = embeddings
        self._versions = versions
        self._orders = orders
        self._store = store
        self._paths = paths

    def build(
        self, identity: tuple[str, ...], previous: Candidate | None, report: Reporter
    ) -> tuple[dict[int, ShardRef], int]:
        """Build the run's shards that are missing; gives every shard of the corpus that is there, and how many are new.

        Shards that the run doesn't cover are known by their content, too: what the candidate before said of them may
        be out of date.
        """
        hashes = self._hashes(self._versions["chunks"]).persist()
        contents, delta = side_by_side(lambda: shard_contents(hashes, identity), lambda: self._delta(hashes, previous))
        found = {number: self._store.find_shard(number, content) for number, content in contents.items()}
        refs = {number: ref for number, ref in found.items() if ref is not None}
        lacking = (contents.keys() - refs.keys()) & set(self._orders.shards)
        missing = {number: contents[number] for number in sorted(lacking)}
        if not missing:
            report.progress("every shard is there already")
            return refs, 0
        bases = self._bases(missing, previous, delta)
        report.progress(f"building {len(missing)} of {len(contents)} shards, {len(bases)} from what they were before")
        vectors = read_lance(self._spark, self._embeddings.uri, version=self._versions["embeddings"])
        rows = self._rows([number for number in missing if number not in bases])
        removed = None
        if delta is not None and bases:
            single = self._single_rows(delta.chunks_of(bases, "is_added"))
            removed = delta.chunks_of(bases, "is_removed")
            if len(bases) == len(missing):
                texts, rows = single.select("text_hash").distinct().persist(), single
                vectors = read_lance_keys(
                    self._spark, self._embeddings.uri, texts, version=self._versions["embeddings"]
                )
            else:
                rows = rows.unionByName(single)
        made = built_shards(rows, vectors, missing, bases, removed, self._store)
        return refs | {ref.number: ref for ref in refs_of(made)}, len(missing)

    def load(
        self, identity: tuple[str, ...], spec: EmbeddingSpec, settings: IndexSettings, report: Reporter
    ) -> tuple[dict[int, ShardRef], int, str]:
        """Load the run's shards that the release's collection lacks; gives what `build` gives, and the release."""
        contents = shard_contents(self._hashes(self._versions["chunks"]), identity)
        if not contents:
            return {}, 0, ""
        store = self._collection(contents, spec, settings)
        refs = store.find_shards(contents)
        lacking = (contents.keys() - refs.keys()) & set(self._orders.shards)
        missing = {number: contents[number] for number in sorted(lacking)}
        report.progress(f"loading {len(missing)} of {len(contents)} shards, {len(refs)} are there already")
        if missing:
            vectors = read_lance(self._spark, self._embeddings.uri, version=self._versions["embeddings"])
            made = built_shards(self._rows(list(missing)), vectors, missing, {}, None, store)
            refs |= {ref.number: ref for ref in refs_of(made)}
        store.wait_until_indexed()
        return refs, len(missing), store.release_id

    def _collection(self, contents: dict[int, str], spec: EmbeddingSpec, settings: IndexSettings) -> "WeaviateShards":
        # The client is heavy, and only this store needs it.
        from forebay.store.weaviate_shards import WeaviateShards

        counts = self._chunks.rows_per_shard(self._versions["chunks"])
        chunks = {partition_number(key): count for key, count in counts.items()}
        wanted = release_id(CorpusSettings().name, spec, settings, contents)
        return WeaviateShards(wanted, chunks, spec.dim, settings, WeaviateSettings())

    def _hashes(self, version: int) -> DataFrame:
        return row_hashes(read_lance(self._spark, self._chunks.uri, version=version, columns=KEY_COLUMNS))

    def _delta(self, hashes: DataFrame, previous: Candidate | None) -> ShardDelta | None:
        """Compare the run's shards with the candidate before; None where its chunks can't be read any more."""
        if previous is None or not self._chunks.holds_version(previous.table_versions["chunks"]):
            return None
        is_among = F.col("shard").isin(sorted(previous.shards.keys() & set(self._orders.shards)))
        before = self._hashes(previous.table_versions["chunks"])
        return delta_of(hashes.where(is_among), before.where(is_among))

    def _bases(
        self, missing: dict[int, str], previous: Candidate | None, delta: ShardDelta | None
    ) -> dict[int, ShardRef]:
        """Find the shards that differ little from their earlier selves."""
        if previous is None or delta is None:
            return {}
        refs = {number: ref for number, ref in previous.shards.items() if number in missing and self._is_intact(ref)}
        return {n: ref for n, ref in refs.items() if delta.size(n) <= _MAX_DELTA_SHARE * ref.chunks}

    def _is_intact(self, ref: ShardRef) -> bool:
        return self._store.find_shard(ref.number, ref.content) == ref

    def _rows(self, numbers: list[int]) -> DataFrame:
        """Read all chunks of some shards."""
        uri, version = self._chunks.uri, self._versions["chunks"]
        where = f"shard IN ({', '.join(map(str, numbers)) or '-1'})"
        return read_lance(self._spark, uri, version=version, columns=INDEXED_COLUMNS, where=where)

    def _single_rows(self, chunks: DataFrame) -> DataFrame:
        """Read some chunks."""
        keys = chunks.select("chunk_id")
        rows = read_lance_keys(self._spark, self._chunks.uri, keys, version=self._versions["chunks"])
        return rows.select(*INDEXED_COLUMNS)


def _are_built(store: QdrantEdgeStore, candidate: Candidate) -> bool:
    return all(store.find_shard(ref.number, ref.content) == ref for ref in candidate.shards.values())


def _indexed(orders: JobOrders, refs: dict[int, ShardRef]) -> int:
    return sum(ref.chunks for number, ref in refs.items() if number in orders.shards)


def _report(orders: JobOrders, report: Reporter, refs: dict[int, ShardRef], built: int, expected: int) -> None:
    covered = [ref for number, ref in sorted(refs.items()) if number in orders.shards]
    held = _indexed(orders, refs)
    recalls = {partition_key(ref.number): ref.ann_recall10 for ref in covered if ref.ann_recall10 is not None}
    least = ReleaseSettings().min_ann_recall
    report.checks(check_index(chunks=expected, indexed=held, recalls=recalls, min_recall=least))
    report.figures(
        rows=held,
        size_bytes=sum(ref.bytes for ref in covered),
        changed={"shards_built": built, "shards_kept": len(covered) - built},
        rows_per_shard={partition_key(ref.number): ref.chunks for ref in covered},
    )
    if held != expected:
        raise IndexBuildError(f"the shards hold {held} chunks, the chunk table {expected}.")


if __name__ == "__main__":
    run_job(load_index)
