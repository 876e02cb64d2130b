"""Intervals against known answers, and laws that hold for any values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.analysis.autocorrelation import autocorrelation, block_length, effective_size
from benchsuite.analysis.intervals import (
    batch_means,
    block_for,
    block_sums,
    order_statistics,
    quantile_interval,
    ratio_interval,
    t_over_runs,
)


def ar1(n: int, rho: float, seed: int = 1) -> np.ndarray:
    """A Gaussian AR(1), past its start."""
    noise = np.random.default_rng(seed).standard_normal(n + 500)
    from scipy.signal import lfilter  # a second of every worker, if it stood above

    return lfilter([1.0], [1.0, -rho], noise)[500:]


@pytest.mark.parametrize("n", [60, 300])
@pytest.mark.parametrize("slow", [False, True])
def test_batch_means_hold_the_mean_of_a_heavy_tail(n, slow):
    """Lognormal with s = 1.5, and 3 % of requests 50 times as slow: 93 % or more of the intervals hold the mean.

    Of 60 requests none is slow in 16 % of runs, and then no interval can know of them: 84 % is the most there is.
    """
    rng = np.random.default_rng(n)
    held = []
    for _ in range(200):
        values = np.exp((0.3 if slow else 1.5) * rng.standard_normal(n))
        truth = math.exp(0.045) * 2.47 if slow else math.exp(1.125)
        if slow:
            values[rng.random(n) < 0.03] *= 50
        found = batch_means(values)
        if found.low is not None:
            held.append(found.low <= truth <= found.high)
    assert np.mean(held) > (0.79 if slow and n == 60 else 0.91)  # the shares of 200 have a standard error of 2 points


def test_batch_means_whose_upper_end_is_not_known():
    """One request of 60 that is 1,000 times as slow: the mean is known to no better than from 1 to 10 times itself."""
    found = batch_means(np.array([1.0, 1.1] * 29 + [1000.0, 1.0]))
    assert (found.low, found.high) == (1.0, pytest.approx(10 * found.value))
    assert "too few slow requests to know its upper end" in found.method


def test_t_over_runs():
    """exp(mean ln y -+ t s / sqrt n): logs -0.1, 0, 0.1 have s = 0.1, t = 4.302653 and half-width 0.248414."""
    found = t_over_runs(np.exp([-0.1, 0.0, 0.1]))
    assert (found.low, found.high) == (pytest.approx(math.exp(-0.248414)), pytest.approx(math.exp(0.248414)))
    assert (found.n, found.method) == (3, "log-scale t over 3 runs")


@pytest.mark.parametrize(("n", "halves"), [(3, 2.48), (5, 1.24), (7, 0.92), (10, 0.72)])
def test_half_widths_in_units_of_s(n: int, halves: float):
    """The table of METHODS: how wide an interval n runs leave."""
    logs = np.linspace(-1, 1, n)
    found = t_over_runs(np.exp(logs / logs.std(ddof=1) * 0.01))
    assert math.log(found.high or 0) / 0.01 == pytest.approx(halves, abs=0.005)


def test_one_run_has_no_interval():
    """Not a number, but words."""
    found = t_over_runs(np.array([12.5]))
    assert (found.value, found.low, found.high, found.n, found.method) == (12.5, None, None, 1, "no interval: one run")


def test_a_figure_that_a_run_lacks_gives_no_interval():
    """Nor does a run that made nothing."""
    assert t_over_runs(np.array([1.0, np.nan])).method == "no interval: not known in every run"
    assert t_over_runs(np.array([1.0, 0.0])).method == "no interval: a run has 0"


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=9))
def test_t_holds_its_value_and_scales(values: list[float]):
    """The interval holds the mean, and a change of unit changes it alone by that unit."""
    one, thousand = t_over_runs(np.array(values)), t_over_runs(np.array(values) * 1000)
    assert one.low is not None
    assert one.high is not None
    assert one.low <= one.value <= one.high  # type: ignore[operator]
    assert thousand.low == pytest.approx(one.low * 1000)


@pytest.mark.parametrize(
    ("n", "p", "low", "high"), [(2993, 0.99, 2952, 2974), (2993, 0.95, 2820, 2867), (300, 0.99, 293, None)]
)
def test_ranks(n: int, p: float, low: float, high: float | None):
    """p99 of 2,993 lies between the 2,952nd and the 2,974th; of 300 values none is surely beyond it."""
    found = order_statistics(np.arange(1, n + 1.0), p)
    assert (found.low, found.high) == (low, high)


def test_ranks_of_fewer_independent_values_are_wider():
    """With n_eff 500 of 2,993 the ends are further apart, and the method says n_eff."""
    plain, wide = (order_statistics(np.arange(1, 2994.0), 0.95, n_eff) for n_eff in (None, 500.0))
    assert wide.low < plain.low < plain.high < wide.high  # type: ignore[operator]
    assert wide.method == "order statistics, n_eff 500"


def test_nothing_has_no_quantile():
    """And a quantile is between 0 and 1."""
    assert order_statistics(np.empty(0), 0.5).value is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        order_statistics(np.ones(3), 1.0)


def test_effective_size():
    """AR(1) 0.5 counts a third, (1 - 0.5) / (1 + 0.5); independent values count whole, equal ones too."""
    sizes = [effective_size(ar1(20_000, 0.5, seed)) / 20_000 for seed in range(8)]
    assert np.mean(sizes) == pytest.approx(1 / 3, rel=0.05)
    assert effective_size(ar1(5000, 0.0)) > 4500
    assert effective_size(np.full(50, 0.1)) == 50
    assert autocorrelation(np.full(5, 0.1)).tolist() == [1, 0, 0, 0, 0]


def test_block_length():
    """For AR(1) r the best length is (6 r^2 / (1 - r^2)^2 n)^(1/3): 29.9 at r = 0.5, n = 10,000."""
    lengths = [block_length(ar1(10_000, 0.5, seed)) for seed in range(9)]
    assert np.median(lengths) == pytest.approx(29.9, rel=0.15)
    assert block_length(np.ones(9)) == 1
    assert block_for(np.ones(100), 32) == 32


def test_batch_means():
    """30 batches of two: the t interval over their means, t(29) = 2.045230."""
    values = np.tile([1.0, 3.0, 2.0, 6.0], 15)  # means 2 and 4 in turn: their neighbours are unlike
    found = batch_means(values)
    half = 2.045230 * np.std([2.0, 4.0] * 15, ddof=1) / math.sqrt(30)
    assert (found.value, found.low, found.high) == (3.0, pytest.approx(3 - half), pytest.approx(3 + half))
    assert found.method == "30 batch means of one run"


def test_batches_that_follow_each_other_are_merged():
    """A slow wave halves them twice; a trend over the whole run leaves no interval."""
    wave = np.sin(np.arange(3000) / 3000 * 2 * np.pi * 2)
    assert batch_means(2 + wave).method == "7 batch means of one run"
    assert batch_means(np.arange(1, 3001.0)).low is None
    assert batch_means(np.ones(39)).method == "no interval: fewer than 40 values"


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 5))
@settings(max_examples=50)
def test_circular_blocks_give_every_row_its_weight(n: int, block: int, seed: int):
    """The mean of all block sums is the whole, whatever the block; one block of all rows is the whole itself."""
    columns = np.random.default_rng(seed).random((n, 2))
    sums = block_sums(columns, block)
    assert sums.sums.mean(axis=0) * sums.n_blocks == pytest.approx(columns.sum(axis=0))
    assert block_sums(columns, n).draw(np.random.default_rng(0), 3) == pytest.approx(
        np.tile(columns.sum(axis=0), (3, 1))
    )


def test_ratio_of_sums():
    """Tokens that are always twice the seconds have a ratio of 2 without doubt; few blocks give no interval."""
    seconds = np.random.default_rng(2).random(500)
    found = ratio_interval(2 * seconds, seconds, 8, np.random.default_rng(0))
    assert (found.value, found.low, found.high) == (pytest.approx(2), pytest.approx(2), pytest.approx(2))
    assert ratio_interval(seconds, seconds, 100, np.random.default_rng(0)).method.startswith(
        "no interval: only 5 blocks"
    )


def test_percentiles_choose_their_method():
    """Independent: ranks; dependent: blocks, with n_eff; too little beyond the p99 of 300: ranks of n_eff."""
    rng = np.random.default_rng(0)

    def method(values: np.ndarray, p: float) -> str:
        return quantile_interval(values, p, block_for(values, 8), rng).method

    assert method(ar1(2000, 0.0), 0.95) == "order statistics"
    assert method(ar1(2993, 0.8), 0.5).startswith("circular block bootstrap, ")
    assert ", n_eff " in method(ar1(2993, 0.8), 0.5)
    assert method(ar1(300, 0.6), 0.99).startswith("order statistics, n_eff")


def test_dependence_widens_a_percentile():
    """Blocks leave more doubt than ranks that take the values as independent."""
    values = ar1(2993, 0.8)
    narrow = order_statistics(values, 0.5)
    wide = quantile_interval(np.exp(values), 0.5, block_for(values, 8), np.random.default_rng(0))
    assert math.log(wide.high / wide.low) > 1.5 * (narrow.high - narrow.low)  # type: ignore[operator]
