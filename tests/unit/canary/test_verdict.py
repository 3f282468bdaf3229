from fractions import Fraction

import pytest
from scipy.stats import binom, binomtest

from forebay.canary.observations import Observation, Observations
from forebay.canary.verdict import Verdict, compare, judge, quantile_bounds, sign_test


def _seen(searches=500, *, only_canary=0, only_current=0, both=0, kind="poor", ms=(10.0, 10.0), given_up=()):
    """So many searches, of which some went badly in one of the releases, or in both."""
    flags = [(True, False)] * only_canary + [(False, True)] * only_current + [(True, True)] * both
    flags += [(False, False)] * (searches - len(flags))
    lines = [Observation(question=str(n), ms=ms, **{kind: pair}) for n, pair in enumerate(flags)]
    return Observations(searches=lines, given_up=list(given_up))


def _verdict(seen):
    return judge(seen, min_searches=500, max_slowdown=1.5)[0]


@pytest.mark.parametrize(
    ("worse", "better", "chance"),
    [
        (0, 0, Fraction(1)),
        (7, 0, Fraction(1, 128)),
        (8, 1, Fraction(1 + 9, 512)),
        (10, 2, Fraction(1 + 12 + 66, 4096)),
        (0, 3, Fraction(1)),
        (2, 2, Fraction(1 + 4 + 6, 16)),
    ],
)
def test_the_sign_test_by_hand(worse, better, chance):
    assert sign_test(worse, better) == float(chance)


def test_the_sign_test_is_scipys_binomial_test():
    assert sign_test(300, 240) == pytest.approx(binomtest(300, 540, alternative="greater").pvalue)


@pytest.mark.parametrize("n", [90, 100, 500])
def test_bounds_of_a_quantile_are_scipys_ranks(n):
    values = [float(rank) for rank in range(n, 0, -1)]
    low, high = quantile_bounds(values, 0.95, 0.01)
    # The value of rank r is a lower bound where at least r values are below the quantile, at 99%.
    assert low == max(rank for rank in range(1, n + 1) if binom.sf(rank - 1, n, 0.95) >= 0.99)
    assert high == min(rank for rank in range(1, n + 1) if binom.cdf(rank - 1, n, 0.95) >= 0.99)


def test_too_few_values_have_no_upper_bound():
    """0.95**89 = 0.0104: all 89 values may lie below the quantile."""
    assert quantile_bounds([1.0] * 89, 0.95, 0.01)[1] is None
    assert quantile_bounds([1.0] * 90, 0.95, 0.01)[1] == 1.0


@pytest.mark.parametrize("kind", ["failed", "poor"])
@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        # p 1/128 < 0.01, and 7 of 500 is more than 1%.
        ({"only_canary": 7}, Verdict.ROLL_BACK),
        # p 1/64.
        ({"only_canary": 6}, Verdict.PROMOTE),
        # As sure as before, but less than 1% of the searches.
        ({"only_canary": 7, "searches": 800}, Verdict.PROMOTE),
        # p 0.019: about as many got better.
        ({"only_canary": 12, "only_current": 3}, Verdict.PROMOTE),
        ({"only_canary": 30, "only_current": 10}, Verdict.ROLL_BACK),
        ({"only_current": 30}, Verdict.PROMOTE),
        ({"both": 400}, Verdict.PROMOTE),
        # Before the last look the level is 0.001: 1/512 is not enough, 1/1024 is.
        ({"only_canary": 9, "searches": 100}, Verdict.WAIT),
        ({"only_canary": 10, "searches": 100}, Verdict.ROLL_BACK),
        ({"searches": 499}, Verdict.WAIT),
        ({"searches": 0}, Verdict.WAIT),
    ],
)
def test_searches_that_went_badly_in_the_canary_decide(kind, seen, verdict):
    if seen == {"only_canary": 12, "only_current": 3}:
        assert sign_test(12, 3) == pytest.approx(576 / 2**15)
    assert _verdict(_seen(kind=kind, **seen)) is verdict


@pytest.mark.parametrize(("ms", "verdict"), [((14.9, 10.0), Verdict.PROMOTE), ((15.1, 10.0), Verdict.ROLL_BACK)])
def test_a_canary_that_is_slower_than_allowed_is_rolled_back(ms, verdict):
    assert _verdict(_seen(ms=ms)) is verdict


def test_some_slow_searches_are_chance():
    """28 of 500 searches took ten times as long: p95 does, too, but the bound at 99% says that it may not."""
    seen = _seen()
    slow = [line.model_copy(update={"ms": (100.0, 10.0)}) for line in seen.searches[:28]]
    seen = Observations(searches=slow + seen.searches[28:], given_up=[])
    latency = compare(seen.searches).latency
    assert (latency[0].p95_ms, latency[0].low_ms, latency[1].p95_ms) == (100.0, 10.0, 10.0)
    assert _verdict(seen) is Verdict.PROMOTE


def test_a_retriever_that_gave_up_decides_at_once():
    verdict, reason = judge(_seen(searches=3, given_up=["it can't be opened"]), min_searches=500, max_slowdown=1.5)
    assert verdict is Verdict.ROLL_BACK
    assert "it can't be opened" in reason


def test_means_are_over_the_searches_that_have_the_figure():
    lines = [
        Observation(question="1", similarity=(0.5, 0.7), overlap10=0.8, ms=(1.0, 3.0)),
        Observation(question="2", similarity=(0.7, 0.9), overlap10=0.4, ms=(2.0, 4.0)),
        Observation(question="3", similarity=(None, 0.1), failed=(True, False), poor=(True, False)),
    ]
    found = compare(lines)
    assert (found.searches, found.overlap10) == (3, pytest.approx(0.6))
    assert found.similarity == (pytest.approx(0.6), pytest.approx(0.8))
    assert (found.failed.canary, found.failed.current, found.failed.only_canary) == (1, 0, 1)
    assert [latency.p95_ms for latency in found.latency] == [2.0, 4.0]
