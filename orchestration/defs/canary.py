"""The canary's verdict: from what retrievers noted to its promotion or its rollback."""

import base64
import io
from collections.abc import Iterator

import dagster as dg

from forebay.canary.settling import Settled, settle
from forebay.canary.trials import CanaryRegistry
from forebay.canary.verdict import Comparison, Verdict, judge
from forebay.errors import ReleaseError
from forebay.settings import PathSettings, ReleaseSettings
from orchestration.defs.automation import ACTIVE, INTERACTIVE
from orchestration.defs.release import release

__all__ = ["JOBS", "SENSORS", "canary_verdict"]


@dg.asset(
    deps=[release],
    kinds={"python"},
    group_name="canary",
    check_specs=[dg.AssetCheckSpec("canary_is_not_worse", asset="canary_verdict")],
)
def canary_verdict(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
    """The canary beside the current release, in the searches that both were asked; it is promoted or rolled back."""
    settled = settle(PathSettings(), ReleaseSettings())
    if settled is None:
        context.log.info("there is no canary")
        yield dg.MaterializeResult(
            metadata={"verdict": "none"}, check_results=[_check("there is no canary", passed=True)]
        )
        return
    context.log.info(f"canary {settled.canary.release_id}: {settled.verdict} ({settled.reason})")
    yield dg.MaterializeResult(
        metadata={
            "release_id": settled.canary.release_id,
            "against": settled.canary.against,
            "verdict": settled.verdict.value,
            "reason": settled.reason,
            "searches": settled.comparison.searches,
            "comparison": dg.MetadataValue.md(_report(settled)),
            "next": settled.next or "none",
        },
        check_results=[_check(settled.reason, passed=settled.verdict is not Verdict.ROLL_BACK)],
    )


def _check(reason: str, *, passed: bool) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(check_name="canary_is_not_worse", passed=passed, metadata={"reason": reason})


canary_job = dg.define_asset_job(
    "canary_job",
    selection=dg.AssetSelection.assets(canary_verdict),
    description="Promote the canary, or roll it back.",
    tags=INTERACTIVE,
)
JOBS = [canary_job]


@dg.sensor(job=canary_job, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def canary_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the verdict as soon as the searches that were compared decide."""
    canaries = CanaryRegistry(PathSettings().releases)
    try:
        canary = canaries.current()
    except ReleaseError as exc:
        return dg.SkipReason(str(exc))
    if canary is None:
        return dg.SkipReason("there is no canary")
    seen = canaries.observations(canary)
    verdict, reason = judge(seen, min_searches=canary.min_searches, max_slowdown=canary.max_slowdown)
    if verdict is Verdict.WAIT:
        return dg.SkipReason(f"canary {canary.release_id}: {reason}")
    if context.instance.get_runs_count(dg.RunsFilter(job_name=canary_job.name, statuses=ACTIVE)):
        return dg.SkipReason(f"a run of {canary_job.name} is queued or under way")
    # The tick's time is in the key: a run that failed, as a cluster was away, is asked for again.
    return dg.RunRequest(run_key=f"{canary.trial_id}-{context.last_tick_completion_time}")


SENSORS = [canary_sensor]


def _report(settled: Settled) -> str:
    found = settled.comparison
    rows = [
        ("searches that failed", found.failed.canary, found.failed.current),
        ("... in this one only", found.failed.only_canary, found.failed.only_current),
        ("searches that found nothing near enough", found.poor.canary, found.poor.current),
        ("... in this one only", found.poor.only_canary, found.poor.only_current),
    ]
    lines = [f"| {name} | {new} | {old} |" for name, new, old in rows]
    if found.latency is not None:
        new, old = found.latency
        lines.append(f"| latency, p95 | {new.p95_ms:.1f} ms | {old.p95_ms:.1f} ms |")
    if found.similarity is not None:
        lines.append("| mean similarity of the nearest hit | {:.3f} | {:.3f} |".format(*found.similarity))
    overlap = "" if found.overlap10 is None else f"\n\noverlap@10: {found.overlap10:.3f}"
    head = f"| {found.searches} searches | canary | current |\n|---|---|---|\n"
    return head + "\n".join(lines) + overlap + "\n\n" + _plot(found)


def _plot(found: Comparison) -> str:
    """Plot the shares of bad searches, and the latencies with their bounds, as Markdown with an inline picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), layout="constrained")
    shares, times = figure.subplots(1, 2)
    searches = max(found.searches, 1)
    for at, paired in enumerate((found.failed, found.poor)):
        shares.bar(at - 0.2, paired.canary / searches, 0.4, color="C1", label="canary" if at == 0 else None)
        shares.bar(at + 0.2, paired.current / searches, 0.4, color="C0", label="current" if at == 0 else None)
    shares.set_xticks([0, 1], ["failed", "nothing near enough"])
    shares.set_ylabel("share of the searches")
    shares.legend()
    for at, latency in enumerate(found.latency or ()):
        low, high = (latency.p95_ms if bound is None else bound for bound in (latency.low_ms, latency.high_ms))
        times.errorbar([at], [latency.p95_ms], [[latency.p95_ms - low], [high - latency.p95_ms]], fmt="o", capsize=4)
    times.set_xticks([0, 1], ["canary", "current"])
    times.set_xlim(-0.5, 1.5)
    times.set_ylabel("latency p95 [ms]")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return f"![bad searches, latency](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"
