"""How far eight bits reach: all of it, or less where a few far values would cost the rest its levels."""

from __future__ import annotations

import numpy as np
import pytest

from nbautoml.compress.quantization.ranges import N_BINS, RANGES, squared_error_range


def histogram(values):
    return np.histogram(values, bins=N_BINS)


@pytest.fixture
def with_far_value():
    values = np.random.default_rng(0).normal(size=100_000)
    values[0] = 60.0
    return values


def test_minmax_reaches_to_the_farthest_value(with_far_value):
    assert RANGES["minmax"](*histogram(with_far_value)) == (with_far_value.min(), 60.0)


@pytest.mark.parametrize("method", ["percentile", "entropy", "histogram"])
def test_the_others_cut_one_far_value_off_and_keep_the_rest(method, with_far_value):
    _, high = RANGES[method](*histogram(with_far_value))
    assert 2.0 < high < 55.0


@pytest.mark.parametrize("method", RANGES)
def test_values_that_lie_evenly_keep_nearly_all_of_their_range(method):
    low, high = RANGES[method](*histogram(np.linspace(-1, 1, 20_001)))
    assert low < -0.95
    assert high > 0.95


def test_the_squared_error_of_what_it_chooses_is_no_larger_than_of_all(with_far_value):
    def error(low, high):
        step = (high - low) / 255
        near = low + np.round((np.clip(with_far_value, low, high) - low) / step) * step
        return float(((near - with_far_value) ** 2).mean())

    counts, edges = histogram(with_far_value)
    assert error(*squared_error_range(counts, edges)) <= error(edges[0], edges[-1])


def test_a_value_that_never_changes_keeps_its_place():
    counts, edges = np.array([4.0]), np.array([2.0, 2.0])
    assert squared_error_range(counts, edges) == (2.0, 2.0)
