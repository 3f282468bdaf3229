import numpy as np
import pytest

from quality.intervals import mean_interval


def test_the_interval_of_a_large_sample_is_that_of_the_normal_approximation():
    values = np.random.default_rng(1).normal(0.4, 0.2, 2000)
    low, high = mean_interval(values.tolist())
    margin = 1.96 * values.std() / 2000**0.5
    assert (low, high) == pytest.approx((values.mean() - margin, values.mean() + margin), abs=margin / 8)


def test_the_same_values_give_the_same_interval():
    assert mean_interval([0.1, 0.5, 0.9]) == mean_interval([0.1, 0.5, 0.9])


def test_equal_values_are_sure():
    assert mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_one_value_has_no_interval():
    assert mean_interval([0.5]) is None
