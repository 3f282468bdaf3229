"""The candidate release, its evaluation, and the promotion."""

import base64
import io
import time
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from forebay.candidates import Candidate
from forebay.embedding.sentence_transformer import load_embedder
from forebay.errors import ReleaseError
from forebay.golden import GoldenQuestions
from forebay.releases import Evaluation, ReleaseManifest, ReleaseRegistry, now, worse_metrics
from forebay.settings import CorpusSettings, PathSettings, ReleaseSettings
from forebay.store.qdrant_edge import QdrantEdgeStore
from forebay.tables import chunk_table, document_table, quarantine_table
from orchestration.defs.documents import golden_questions
from orchestration.defs.index import index_shards
from quality.retrieval import evaluate

__all__ = ["evaluation", "release"]

_DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))
"""A night's run is late after 26 hours, and missing after 36."""


def _candidate_manifest(paths: PathSettings) -> ReleaseManifest:
    candidate = Candidate.load(paths.shards)
    if candidate is None:
        raise ReleaseError("there is no candidate; materialize the asset `index_shards` first.")
    candidate.require_whole(chunk_table(paths.tables).rows_per_shard(candidate.table_versions["chunks"]))
    shards = tuple(ref for _, ref in sorted(candidate.shards.items()))
    if not shards:
        raise ReleaseError("the candidate holds no chunks; a release needs some.")
    return ReleaseManifest(
        corpus=CorpusSettings().name,
        embedding=candidate.embedding,
        index=candidate.index,
        reduction=candidate.reduction,
        shards=shards,
        documents=document_table(paths.tables).published_rows(),
        table_versions=candidate.table_versions,
        evaluation=Evaluation(questions=0),
        created_at=now(),
    )


def _evaluate(manifest: ReleaseManifest, paths: PathSettings, registry: ReleaseRegistry) -> Evaluation:
    folder = paths.data.absolute() / "golden"
    if not (folder / "queries.jsonl").exists():
        return Evaluation(questions=0)
    golden = GoldenQuestions.load(folder / "queries.jsonl", folder / "qrels.tsv")
    if registry.holds(manifest.release_id):
        known = registry.load(manifest.release_id).evaluation
        if known.questions_hash == golden.fingerprint:
            return known
    # A document that its source dropped is no failure of retrieval; one that was rejected still counts.
    present = document_table(paths.tables).held_keys("doc_id", golden.judged_documents)
    present |= quarantine_table(paths.tables).held_keys("doc_id", golden.judged_documents)
    judged = golden.without_documents(golden.judged_documents - present)
    embedder = load_embedder(manifest.embedding, paths.models)
    opened = QdrantEdgeStore(paths.shards, manifest.embedding, manifest.index).open(manifest)
    try:
        measured = evaluate(opened, embedder, judged)
    finally:
        opened.close()
    return measured.model_copy(update={"questions_hash": golden.fingerprint})


@dg.asset(
    deps=[index_shards, golden_questions],
    kinds={"python"},
    group_name="release",
    check_specs=[dg.AssetCheckSpec("candidate_is_not_worse", asset="evaluation", blocking=True)],
)
def evaluation(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
    """Retrieval quality of the candidate on the golden questions, and the comparison with the current release."""
    began = time.monotonic()
    paths, settings = PathSettings(), ReleaseSettings()
    registry = ReleaseRegistry(paths.releases)
    manifest = _candidate_manifest(paths)
    measured = _evaluate(manifest, paths, registry)
    manifest = registry.save(manifest.model_copy(update={"evaluation": measured}))
    current = registry.current()
    worse = [] if current is None else worse_metrics(measured, current.evaluation, settings.margin)
    context.log.info(f"release {manifest.release_id}: nDCG@10 {measured.ndcg10}, recall@100 {measured.recall100}")
    figures = {"ndcg10": measured.ndcg10, "recall100": measured.recall100}
    yield dg.MaterializeResult(
        metadata={
            "release_id": manifest.release_id,
            "questions": measured.questions,
            "seconds": round(time.monotonic() - began, 2),
            **{name: value for name, value in figures.items() if value is not None},
            "history": dg.MetadataValue.md(_history(registry)),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="candidate_is_not_worse",
                passed=not worse,
                metadata={
                    "margin": settings.margin,
                    "worse": "; ".join(worse) or "nothing",
                    "current": "none" if current is None else current.release_id,
                },
            )
        ],
    )


def _history(registry: ReleaseRegistry) -> str:
    """Plot the quality of the releases over time, as Markdown with an inline picture."""
    from matplotlib.figure import Figure

    rated = [manifest for manifest in reversed(registry.list()) if manifest.evaluation.ndcg10 is not None][-30:]
    if not rated:
        return "no release has been evaluated yet: the corpus has no golden questions"
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot()
    names = [manifest.release_id[:6] for manifest in rated]
    axes.plot(names, [manifest.evaluation.ndcg10 or 0.0 for manifest in rated], "o-", label="nDCG@10")
    axes.plot(names, [manifest.evaluation.recall100 or 0.0 for manifest in rated], "s-", label="recall@100")
    axes.set_ylim(0, 1)
    axes.set_xlabel("release")
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return f"![quality by release](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"


@dg.asset(deps=[evaluation], kinds={"python"}, group_name="release", freshness_policy=_DAILY)
def release(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """The current release: the candidate, after it passed its checks, by one atomic move of the pointer."""
    began = time.monotonic()
    paths = PathSettings()
    registry = ReleaseRegistry(paths.releases)
    manifest = registry.load(_candidate_manifest(paths).release_id)
    previous = registry.current_id()
    registry.promote(manifest.release_id, shards=paths.shards)
    context.log.info(f"current release: {manifest.release_id}")
    return dg.MaterializeResult(
        metadata={
            "release_id": manifest.release_id,
            "previous": previous or "none",
            "is_new": previous != manifest.release_id,
            "documents": manifest.documents,
            "dagster/row_count": manifest.chunks,
            "bytes": sum(ref.bytes for ref in manifest.shards),
            "embedding": manifest.embedding.model_dump(),
            "seconds": round(time.monotonic() - began, 2),
        }
    )
