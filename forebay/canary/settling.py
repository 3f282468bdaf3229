"""How a release becomes the canary, and how a canary ends."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from forebay.canary.trials import Canary, CanaryRegistry, Ending, Outcome
from forebay.canary.verdict import Comparison, Verdict, compare, judge
from forebay.errors import ReleaseError
from forebay.releases import ReleaseRegistry, worse_metrics
from forebay.settings import PathSettings, ReleaseSettings

__all__ = ["Place", "Settled", "introduce", "promote_by_hand", "reject_by_hand", "settle"]


class Place(StrEnum):
    """Where a release that passed its gate has got to."""

    CURRENT = "current"
    CANARY = "canary"
    WAITING = "waiting"


@dataclass(frozen=True)
class Settled:
    """What a look at the canary came to."""

    canary: Canary
    """The canary as it was."""
    verdict: Verdict
    """What was decided."""
    reason: str
    """Why."""
    comparison: Comparison
    """On which figures."""
    next: str = ""
    """Release that waited and is the canary now; empty where there is none."""


def introduce(release_id: str, paths: PathSettings, settings: ReleaseSettings) -> Place:
    """Make a release that passed its gate the current one, or the canary where the settings ask for one.

    While another release is on trial, it waits for the end of that, unless that is overdue: where new releases come
    faster than searches, none would ever be decided about.

    Raises:
        ConfigurationError: the settings of the cluster are wrong.
        ReleaseError: it was a canary already and was rolled back; or its files are missing or changed, or the cluster
            doesn't hold all of it. Pointers stay.
    """
    registry, canaries = ReleaseRegistry(paths.releases), CanaryRegistry(paths.releases)
    current_id, canary = registry.current_id(), canaries.current()
    if release_id != current_id and (rejected := canaries.rejection(release_id)) is not None:
        raise ReleaseError(
            f"the release {release_id} was a canary and was rolled back ({rejected.reason}), so {current_id} stays the "
            f"current one until the documents or the settings change; `forebay release promote {release_id}` makes it "
            "the current one all the same."
        )
    if current_id is None or release_id == current_id or settings.canary_share == 0:
        promote_by_hand(release_id, paths, f"{release_id} is the current release")
        return Place.CURRENT
    if canary is not None and canary.release_id == release_id:
        canaries.write(canary.model_copy(update={"waiting": ""}))
        return Place.CANARY
    if canary is not None and not canary.is_overdue(datetime.now(UTC)):
        canaries.write(canary.model_copy(update={"waiting": release_id}))
        return Place.WAITING
    registry.check(release_id, shards=paths.shards)
    if canary is not None:
        canaries.record(canary, Ending.SUPERSEDED, f"it was overdue, and {release_id} took its place")
    canaries.write(_trial(release_id, current_id, settings))
    return Place.CANARY


def settle(paths: PathSettings, settings: ReleaseSettings) -> Settled | None:
    """Decide about the canary if there is enough to decide on; None without a canary.

    A release that waited is the next canary, if it isn't worse than what is current now.

    Raises:
        ConfigurationError: the settings of the cluster are wrong.
        ReleaseError: the canary's pointer is damaged.
        ReleaseError: the cluster that the canary lies in doesn't answer; it stays the canary.
    """
    registry, canaries = ReleaseRegistry(paths.releases), CanaryRegistry(paths.releases)
    canary = canaries.current()
    if canary is None:
        return None
    seen = canaries.observations(canary)
    verdict, reason = judge(seen, min_searches=canary.min_searches, max_slowdown=canary.max_slowdown)
    if verdict is Verdict.PROMOTE:
        verdict, reason = _promote(canary, reason, registry, canaries, paths.shards)
    elif verdict is Verdict.ROLL_BACK:
        canaries.end(canary, Ending.ROLLED_BACK, reason)
    is_over = verdict is not Verdict.WAIT
    return Settled(
        canary=canary,
        verdict=verdict,
        reason=reason,
        comparison=compare(seen.searches),
        next=_next(canary, registry, canaries, paths, settings) if is_over else "",
    )


def promote_by_hand(release_id: str, paths: PathSettings, reason: str = "promoted by hand") -> None:
    """Make a release the current one, and end whatever is on trial.

    Raises:
        ConfigurationError: the settings of the cluster are wrong.
        ReleaseError: as `ReleaseRegistry.promote`; the pointers stay.
    """
    canaries = CanaryRegistry(paths.releases)
    canary = canaries.current()
    ReleaseRegistry(paths.releases).promote(release_id, shards=paths.shards)
    if canary is not None:
        is_canary = canary.release_id == release_id
        canaries.end(canary, Ending.PROMOTED if is_canary else Ending.SUPERSEDED, reason)


def reject_by_hand(paths: PathSettings) -> Outcome | None:
    """Roll the canary back; None without one.

    Raises:
        ReleaseError: the canary's pointer is damaged.
    """
    canaries = CanaryRegistry(paths.releases)
    canary = canaries.current()
    return None if canary is None else canaries.end(canary, Ending.ROLLED_BACK, "rolled back by hand")


def _promote(
    canary: Canary, reason: str, registry: ReleaseRegistry, canaries: CanaryRegistry, shards: Path
) -> tuple[Verdict, str]:
    manifest = registry.load(canary.release_id)
    # Written before the pointer moves: whoever is killed between the two does it again.
    canaries.record(canary, Ending.PROMOTED, reason)
    try:
        registry.promote(canary.release_id, shards=shards)
    except ReleaseError as exc:
        # A cluster may only be away for a moment; files that changed don't mend themselves.
        if manifest.index.store == "weaviate":
            raise
        canaries.end(canary, Ending.ROLLED_BACK, str(exc))
        return Verdict.ROLL_BACK, str(exc)
    canaries.clear()
    return Verdict.PROMOTE, reason


def _next(
    ended: Canary, registry: ReleaseRegistry, canaries: CanaryRegistry, paths: PathSettings, settings: ReleaseSettings
) -> str:
    current = registry.current()
    if not ended.waiting or current is None or not registry.holds(ended.waiting) or settings.canary_share == 0:
        return ""
    waiting = registry.load(ended.waiting)
    # It passed its gate beside another current release than the one there may be now.
    if worse_metrics(waiting.evaluation, current.evaluation, settings.margin):
        return ""
    try:
        is_canary = introduce(ended.waiting, paths, settings) is Place.CANARY
    except ReleaseError:
        # Its files are damaged, or it was rolled back before; the verdict stands all the same.
        return ""
    return ended.waiting if is_canary else ""


def _trial(release_id: str, against: str, settings: ReleaseSettings) -> Canary:
    return Canary(
        release_id=release_id,
        against=against,
        share=settings.canary_share,
        min_searches=settings.canary_min_searches,
        max_slowdown=settings.canary_max_slowdown,
        hours=settings.canary_hours,
        began_at=datetime.now(UTC),
    )
