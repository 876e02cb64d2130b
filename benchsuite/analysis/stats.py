"""Intervals that need no resampling. Every one is an Estimate; where there is none its method says why. Pure.

Nominal 95 % throughout; `python -m benchmarks coverage` measures what they hold.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from benchsuite.analysis.dependence import autocorrelation
from benchsuite.analysis.rows import Floats
from benchsuite.results import Estimate

ALPHA = 0.05
ONE_RUN = "no interval: one run"
MIN_BATCHED = 40  # values, below which batches are too short to average
MAX_LAG1 = 0.2


def none(value: float | None, n: int, why: str) -> Estimate:
    """The value alone, and why it has no interval."""
    return Estimate(value, None, None, n, why if why.startswith("no interval") else f"no interval: {why}")


def t_over_runs(per_run: Floats, value: float | None = None) -> Estimate:
    """exp(mean ln y -+ t s / sqrt(n)) over n runs. value: what the point shows; the mean over runs if None.

    per_run: (n,) one figure a run, in its unit. No interval for one run, or where a run's figure is missing or not
    above 0. The interval is widened to hold `value`, which is an arithmetic mean or a ratio of sums.
    """
    n = len(per_run)
    if n == 0 or not np.isfinite(per_run).all():
        return none(value, n, "no interval: not known in every run")
    value = float(per_run.mean()) if value is None else value
    if n == 1:
        return none(value, 1, ONE_RUN)
    if (per_run <= 0).any():
        return none(value, n, "no interval: a run has 0")
    logs = np.log(per_run)
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1) * logs.std(ddof=1) / math.sqrt(n))
    middle = float(logs.mean())
    low, high = math.exp(middle - half), math.exp(min(middle + half, 700.0))
    return Estimate(value, min(low, value), max(high, value), n, f"log-scale t over {n} runs")


def order_statistics(values: Floats, p: float, n_eff: float | None = None) -> Estimate:
    """The p-quantile with the exact binomial interval of its ranks. An end that no rank supports is None.

    values: (n,) any order, no NaN; 0 < p < 1. n_eff: when the values depend on each other, the ranks are those of
    n_eff independent ones. Raises ValueError for another p.
    """
    if not 0 < p < 1:
        raise ValueError(f"a quantile between 0 and 1, not {p}")
    n = len(values)
    if n == 0:
        return none(None, 0, "no interval: no values")
    ordered = np.sort(values)
    value = float(ordered[max(math.ceil(n * p - 1e-9), 1) - 1])
    m = n if n_eff is None else max(1, math.floor(n_eff))
    lower, upper = int(stats.binom.ppf(ALPHA / 2, m, p)), int(stats.binom.ppf(1 - ALPHA / 2, m, p)) + 1
    low = float(ordered[max(1, math.floor(lower / m * n)) - 1]) if lower >= 1 else None
    high = float(ordered[math.ceil(upper / m * n) - 1]) if upper <= m else None
    method = "order statistics" + ("" if n_eff is None else f", n_eff {m}")
    if low is None and high is None:
        return none(value, n, f"no interval: {m} values are too few for p{p * 100:g}")
    if high is None:
        method += "; too few values for an upper end"
    elif low is None:
        method += "; too few values for a lower end"
    return Estimate(value, low, high, n, method)


def batch_means(values: Floats) -> Estimate:
    """The mean with a t interval over the means of 30 batches, half as many while neighbours are alike.

    values: (n,) of one run in order of completion, no NaN, without its start and its end. No interval below 40 values,
    or where fewer than five batches would be left before their lag-1 autocorrelation is at most 0.2. Source: Law,
    Simulation Modeling and Analysis, chapter 9.
    """
    n = len(values)
    if n < MIN_BATCHED:
        return none(float(values.mean()) if n else None, n, f"no interval: fewer than {MIN_BATCHED} values")
    value = float(values.mean())
    batches = 30 if n >= 2 * 30 else 20
    while True:
        means = values[n % batches :].reshape(batches, -1).mean(axis=1)
        if autocorrelation(means)[1] <= MAX_LAG1:
            break
        if batches < 10:
            return none(value, n, "no interval: requests depend on each other over the whole run")
        batches //= 2
    half = float(stats.t.ppf(1 - ALPHA / 2, batches - 1) * means.std(ddof=1) / math.sqrt(batches))
    return Estimate(value, value - half, value + half, n, f"{batches} batch means of one run")
