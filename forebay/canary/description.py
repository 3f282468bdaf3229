"""The canary in words, for a terminal."""

from datetime import UTC, datetime

from forebay.canary.trials import CanaryRegistry
from forebay.canary.verdict import Comparison, Latency, Paired, compare, judge
from forebay.releases import ReleaseRegistry
from forebay.settings import PathSettings

__all__ = ["describe_canary", "place_of", "trial_rows"]


def place_of(release_id: str, paths: PathSettings) -> str:
    """Say in a word or two what a release is; empty where it is nothing in particular.

    Raises:
        ReleaseError: the canary's pointer is damaged.
    """
    canaries = CanaryRegistry(paths.releases)
    canary = canaries.current()
    if release_id == ReleaseRegistry(paths.releases).current_id():
        return "current"
    if canary is not None and release_id == canary.release_id:
        return f"canary, {canary.share:.0%}"
    if canary is not None and release_id == canary.waiting:
        return "waits"
    return "rolled back" if canaries.rejection(release_id) is not None else ""


def describe_canary(paths: PathSettings) -> list[str]:
    """Say how the canary does, in lines; none without one.

    Raises:
        ReleaseError: the canary's pointer is damaged.
    """
    canaries = CanaryRegistry(paths.releases)
    canary = canaries.current()
    if canary is None:
        return []
    seen = canaries.observations(canary)
    verdict, reason = judge(seen, min_searches=canary.min_searches, max_slowdown=canary.max_slowdown)
    lines = [f"canary {canary.release_id} since {canary.began_at.astimezone():%Y-%m-%d %H:%M}: {reason} ({verdict})"]
    lines += [f"  {name}: {text}" for name, text in _figures(compare(seen.searches)).items()]
    if canary.is_overdue(datetime.now(UTC)):
        lines.append(
            f"  overdue after {canary.hours:g} hours: `forebay release promote` or `forebay release rollback` ends it"
        )
    return lines


def trial_rows(release_id: str, paths: PathSettings) -> dict[str, str]:
    """Say how a release does as the canary, or how its last trial ended; empty where it was never tried.

    Raises:
        ReleaseError: the canary's pointer is damaged.
    """
    canaries = CanaryRegistry(paths.releases)
    canary, ended = canaries.current(), canaries.last_outcome(release_id)
    if canary is not None and canary.release_id == release_id:
        return {"canary": "\n".join(describe_canary(paths))}
    if ended is None:
        return {}
    head = f"{ended.ending} {ended.ended_at.astimezone():%Y-%m-%d %H:%M}: {ended.reason}"
    figures = [f"  {name}: {text}" for name, text in _figures(ended.comparison).items()]
    return {"canary": "\n".join([head, *figures])}


def _figures(found: Comparison) -> dict[str, str]:
    """Give the figures of a comparison as text, the canary's first."""
    if not found.searches:
        return {}
    rows = {"failed": _paired(found.failed), "nothing near enough": _paired(found.poor)}
    if found.latency is not None:
        rows["latency p95"] = " against ".join(map(_latency, found.latency))
    if found.similarity is not None:
        rows["mean similarity"] = "{:.3f} against {:.3f}".format(*found.similarity)
    if found.overlap10 is not None:
        rows["overlap@10"] = f"{found.overlap10:.3f}"
    return rows


def _paired(paired: Paired) -> str:
    return f"{paired.canary} against {paired.current} ({paired.only_canary} and {paired.only_current} alone)"


def _latency(latency: Latency) -> str:
    low, high = ("-" if bound is None else f"{bound:.1f}" for bound in (latency.low_ms, latency.high_ms))
    return f"{latency.p95_ms:.1f} ms ({low} to {high})"
