"""The candidate release, its evaluation, and the promotion."""

import time
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from forebay.canary.settling import Place, introduce, settle
from forebay.candidates import Candidate
from forebay.embedding.sentence_transformer import load_embedder
from forebay.errors import ForebayError, ReleaseError
from forebay.golden import GoldenQuestions
from forebay.releases import Evaluation, ReleaseManifest, ReleaseRegistry, now, worse_metrics
from forebay.settings import CorpusSettings, PathSettings, ReleaseSettings
from forebay.store.contract import SEARCH_VERSION
from forebay.store.opening import open_index
from forebay.tables import chunk_table, document_table, quarantine_table
from orchestration.defs.documents import golden_questions
from orchestration.defs.index import index_shards
from orchestration.release_history import markdown_history
from quality.intervals import mean_interval
from quality.retrieval import evaluate

__all__ = ["evaluation", "release"]

_DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))
"""A night's run is late after 26 hours, and missing after 36."""
_PLACES = {
    Place.CURRENT: "current release: {0}",
    Place.CANARY: "canary: {0}, which {1:.0%} of the searches go to; `forebay release list` says how it does",
    Place.WAITING: "{0} waits until the canary is decided about",
}


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


def _golden_questions(paths: PathSettings) -> GoldenQuestions | None:
    folder = paths.data.absolute() / "golden"
    if not (folder / "queries.jsonl").exists():
        return None
    return GoldenQuestions.load(folder / "queries.jsonl", folder / "qrels.tsv")


def _evaluate(manifest: ReleaseManifest, golden: GoldenQuestions, paths: PathSettings) -> Evaluation:
    """Measure a release, unless its figures are of the same questions and way of searching."""
    known = manifest.evaluation
    if (known.questions_hash, known.search) == (golden.fingerprint, SEARCH_VERSION):
        return known
    # A document that its source dropped is no failure of retrieval; one that was rejected still counts.
    present = document_table(paths.tables).held_keys("doc_id", golden.judged_documents)
    present |= quarantine_table(paths.tables).held_keys("doc_id", golden.judged_documents)
    judged = golden.without_documents(golden.judged_documents - present)
    embedder = load_embedder(manifest.embedding, paths.models)
    opened = open_index(manifest, paths)
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
    if registry.holds(manifest.release_id):
        known = registry.load(manifest.release_id).evaluation
        manifest = manifest.model_copy(update={"evaluation": known})
    golden = _golden_questions(paths)
    measured = Evaluation(questions=0) if golden is None else _evaluate(manifest, golden, paths)
    manifest = registry.save(manifest.model_copy(update={"evaluation": measured}))
    current = registry.current()
    worse: list[str] = []
    difference = None
    if current is not None and golden is not None:
        try:
            baseline = _evaluate(current, golden, paths)
            registry.save(current.model_copy(update={"evaluation": baseline}))
        except ForebayError as exc:
            context.log.warning(f"the current release can't be measured, so nothing is compared with it: {exc}")
        else:
            worse = worse_metrics(measured, baseline, settings.margin)
            difference = _difference(measured, baseline)
    context.log.info(f"release {manifest.release_id}: nDCG@10 {measured.ndcg10}, recall@100 {measured.recall100}")
    figures = {"ndcg10": measured.ndcg10, "mrr10": measured.mrr10, "recall100": measured.recall100}
    yield dg.MaterializeResult(
        metadata={
            "release_id": manifest.release_id,
            "questions": measured.questions,
            "seconds": round(time.monotonic() - began, 2),
            **{name: value for name, value in figures.items() if value is not None},
            "history": dg.MetadataValue.md(markdown_history(registry.list())),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="candidate_is_not_worse",
                passed=not worse,
                metadata={
                    "margin": settings.margin,
                    "worse": "; ".join(worse) or "nothing",
                    "current": "none" if current is None else current.release_id,
                    "ndcg10_difference": difference or "not compared",
                },
            )
        ],
    )


def _difference(candidate: Evaluation, current: Evaluation) -> str | None:
    """Describe how the questions' nDCG@10 differ, for the eyes of who looks at the check."""
    shared = candidate.ndcg10_by_question.keys() & current.ndcg10_by_question.keys()
    differences = [candidate.ndcg10_by_question[key] - current.ndcg10_by_question[key] for key in sorted(shared)]
    if (interval := mean_interval(differences)) is None:
        return None
    changed = sum(difference != 0 for difference in differences)
    mean = sum(differences) / len(differences)
    span = f"95%: {interval[0]:+.4f} to {interval[1]:+.4f}"
    return f"{mean:+.4f} ({span}); {changed} of {len(differences)} questions changed"


@dg.asset(deps=[evaluation], kinds={"python"}, group_name="release", freshness_policy=_DAILY)
def release(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """The current release: the candidate, after it passed its checks, by one atomic move of the pointer.

    Or the canary, which a share of the searches goes to first.
    """
    began = time.monotonic()
    paths, settings = PathSettings(), ReleaseSettings()
    registry = ReleaseRegistry(paths.releases)
    manifest = registry.load(_candidate_manifest(paths).release_id)
    if (settled := settle(paths, settings)) is not None:
        context.log.info(f"canary {settled.canary.release_id}: {settled.verdict} ({settled.reason})")
    previous = registry.current_id()
    place = introduce(manifest.release_id, paths, settings)
    context.log.info(_PLACES[place].format(manifest.release_id, settings.canary_share))
    return dg.MaterializeResult(
        metadata={
            "release_id": manifest.release_id,
            "previous": previous or "none",
            "is_new": place is Place.CURRENT and previous != manifest.release_id,
            "place": place.value,
            "documents": manifest.documents,
            "dagster/row_count": manifest.chunks,
            "bytes": sum(ref.bytes for ref in manifest.shards),
            "embedding": manifest.embedding.model_dump(),
            "seconds": round(time.monotonic() - began, 2),
        }
    )
