"""How sure a mean over questions is."""

from collections.abc import Sequence

import numpy as np

__all__ = ["mean_interval"]

_RESAMPLES = 2000


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Give the 95% interval of the mean by the percentile bootstrap; none for fewer than two values.

    The same values always give the same interval. Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993),
    chapter 13, as `scipy.stats.bootstrap` has it.
    """
    if len(values) < 2:
        return None
    # Takes a second to import, which every process of Dagster would wait for.
    from scipy.stats import bootstrap

    sample = (np.asarray(values, np.float64),)
    found = bootstrap(sample, np.mean, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(0))
    return round(float(found.confidence_interval.low), 6), round(float(found.confidence_interval.high), 6)
