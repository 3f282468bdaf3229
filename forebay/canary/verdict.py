"""The rule that promotes a canary or rolls it back.

Every search that counts was asked of both releases, so which questions people happened to ask can't favour one of them.
"""

from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate
from math import exp, lgamma, log

from pydantic import BaseModel, ConfigDict

from forebay.canary.observations import Observation, Observations

__all__ = [
    "FINAL_LEVEL",
    "INTERIM_LEVEL",
    "Comparison",
    "Latency",
    "Paired",
    "Verdict",
    "compare",
    "judge",
    "quantile_bounds",
    "sign_test",
]

INTERIM_LEVEL = 0.001
"""Level of every look before enough searches were compared. Source: Haybittle (1971), Peto et al. (1976): looks at
0.001 leave the last one's level nearly as it is."""
FINAL_LEVEL = 0.01
"""Level of the last look."""
_TOLERANCE = 0.01
"""What a share of searches may be worse by, however sure that is."""
_TAIL = 0.95


class Verdict(StrEnum):
    """What becomes of a canary."""

    WAIT = "wait"
    PROMOTE = "promote"
    ROLL_BACK = "roll back"


class Paired(BaseModel):
    """How often something bad happened to the same searches in both releases."""

    model_config = ConfigDict(frozen=True)

    canary: int
    """Searches of the canary."""
    current: int
    """Searches of the current release."""
    only_canary: int
    """Searches of the canary that went well in the current release."""
    only_current: int
    """The other way round."""

    def is_worse(self, searches: int, level: float) -> bool:
        """Say whether the canary is worse, by more than the tolerance and more surely than the level."""
        is_much = self.only_canary - self.only_current > _TOLERANCE * searches
        return is_much and sign_test(self.only_canary, self.only_current) < level


class Latency(BaseModel):
    """The 95th percentile of a release's latency, and what it lies between at 99% each."""

    model_config = ConfigDict(frozen=True)

    p95_ms: float
    low_ms: float | None
    """None where there are too few searches to say."""
    high_ms: float | None
    """Likewise."""


class Comparison(BaseModel):
    """A canary beside the current release."""

    model_config = ConfigDict(frozen=True)

    searches: int
    """Different questions that both were asked."""
    failed: Paired
    """Searches that failed."""
    poor: Paired
    """Searches that found nothing, or nothing near enough."""
    latency: tuple[Latency, Latency] | None
    """(canary, current release); none before the first search that both answered."""
    similarity: tuple[float, float] | None
    """Mean similarity of the nearest hit, likewise, over the searches in which both have one."""
    overlap10: float | None
    """Mean share of the ten best hits that are the same."""


def compare(searches: Sequence[Observation]) -> Comparison:
    """Add up what was noted."""
    timed = [seen.ms for seen in searches if seen.ms is not None]
    near = [(new, old) for new, old in (seen.similarity for seen in searches) if new is not None and old is not None]
    overlaps = [seen.overlap10 for seen in searches if seen.overlap10 is not None]
    return Comparison(
        searches=len(searches),
        failed=_paired([seen.failed for seen in searches]),
        poor=_paired([seen.poor for seen in searches]),
        latency=(_latency([new for new, _ in timed]), _latency([old for _, old in timed])) if timed else None,
        similarity=(sum(new for new, _ in near) / len(near), sum(old for _, old in near) / len(near)) if near else None,
        overlap10=sum(overlaps) / len(overlaps) if overlaps else None,
    )


def judge(seen: Observations, *, min_searches: int, max_slowdown: float) -> tuple[Verdict, str]:
    """Decide about a canary.

    It is rolled back where a retriever gave it up, and where it is worse: by failed or by poor searches (exact McNemar
    test, one-sided, and more than 1% of the searches) or, at the end, by the 95th percentile of the latency (bounds at
    99%, without a distribution, that are further apart than the limit). It is promoted where enough searches were
    compared and none of that is so.

    Args:
        seen: What retrievers noted.
        min_searches: Searches that must be compared before a promotion.
        max_slowdown: Largest ratio of the latencies.

    Returns:
        The verdict, and a sentence that says why.
    """
    found = compare(seen.searches)
    if seen.given_up:
        return Verdict.ROLL_BACK, f"a retriever gave it up: {seen.given_up[0]}"
    is_last = found.searches >= min_searches
    level = FINAL_LEVEL if is_last else INTERIM_LEVEL
    for name, paired in (("failed", found.failed), ("found nothing near enough", found.poor)):
        if paired.is_worse(found.searches, level):
            chance = sign_test(paired.only_canary, paired.only_current)
            return Verdict.ROLL_BACK, (
                f"{paired.only_canary} of {found.searches} searches {name} in the canary only, "
                f"{paired.only_current} in the current release only (p {chance:.2g})"
            )
    if not is_last:
        return Verdict.WAIT, f"{found.searches} of {min_searches} searches compared, and none of them decides"
    if found.latency is not None:
        new, old = found.latency
        if new.low_ms is not None and old.high_ms is not None and new.low_ms > max_slowdown * old.high_ms:
            return Verdict.ROLL_BACK, (
                f"it is slower: p95 {new.p95_ms:.1f} ms (at least {new.low_ms:.1f}) against {old.p95_ms:.1f} ms "
                f"(at most {old.high_ms:.1f}), more than {max_slowdown:g} times"
            )
    return Verdict.PROMOTE, f"{found.searches} searches compared, and it is not worse"


def sign_test(worse: int, better: int) -> float:
    """Give the chance of at least so many worse ones among the pairs that differ, if either were as likely.

    Source: McNemar, Psychometrika 12 (1947), in its exact, one-sided form: a binomial tail at 1/2.
    """
    n = worse + better
    ways = chances = 1
    # C(n, k) for k = 0 ... better, which are as many as for k = worse ... n.
    for k in range(better):
        ways = ways * (n - k) // (k + 1)
        chances += ways
    return chances / 2**n


def quantile_bounds(values: Sequence[float], share: float, level: float) -> tuple[float | None, float | None]:
    """Give one-sided bounds of a quantile, each sure to 1 - `level`; None where there are too few values for one.

    Order statistics, whatever the distribution. Source: Conover, Practical Nonparametric Statistics (1999), 3.2.
    """
    n, ordered = len(values), sorted(values)
    # P(at most k of n values lie below the quantile), k = 0 ... n.
    below = list(accumulate(_binomial(k, n, share) for k in range(n + 1)))
    low = next((rank for rank in range(n, 0, -1) if 1 - below[rank - 1] >= 1 - level), None)
    high = next((rank for rank in range(1, n + 1) if below[rank - 1] >= 1 - level), None)
    return (None if low is None else ordered[low - 1], None if high is None else ordered[high - 1])


def _binomial(k: int, n: int, share: float) -> float:
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return exp(ways + k * log(share) + (n - k) * log(1 - share))


def _paired(flags: Sequence[tuple[bool, bool]]) -> Paired:
    return Paired(
        canary=sum(new for new, _ in flags),
        current=sum(old for _, old in flags),
        only_canary=sum(new and not old for new, old in flags),
        only_current=sum(old and not new for new, old in flags),
    )


def _latency(ms: Sequence[float]) -> Latency:
    low, high = quantile_bounds(ms, _TAIL, FINAL_LEVEL)
    return Latency(p95_ms=sorted(ms)[max(0, round(_TAIL * len(ms)) - 1)], low_ms=low, high_ms=high)
