"""Between two measured levels: the number of users at which a figure reaches its limit, with its interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchsuite.results import Estimate
from benchsuite.slo import LATENCIES, Limit

FALLING = ("throughput", "decode")  # per user: falls as users are added
RISING = (*LATENCIES, "error_rate")  # the system's own rates have no such direction, and so no boundary
MIN_RUNS = 3
DRAWS = 1000

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Runs:
    """One figure of single runs: (repeats, levels), NaN where a repeat lacks a level.

    weights: what its mean over runs is weighted by: seconds for rates, requests for latencies. Same shape.
    """

    values: Floats
    weights: Floats


def crossing(levels: Sequence[int], values: Sequence[float], limit: Limit) -> float | None:
    """The number of users at which `limit` stops to hold, interpolated; 0.0: at none of the levels, None: at no level.

    Isotonic regression of the values (falling for per-user rates, rising for latencies and errors), then linear in
    ln N between levels. levels ascending, at least one. Raises ValueError for a metric without a direction.
    """
    from scipy.optimize import isotonic_regression

    if limit.metric not in (*FALLING, *RISING):
        raise ValueError(f"{limit.metric} neither falls nor rises with users by its nature")
    smooth = isotonic_regression(np.asarray(values, float), increasing=limit.metric in RISING).x
    broken = next((i for i, value in enumerate(smooth) if not limit.holds(float(value))), None)
    if broken is None:
        return None
    if broken == 0:
        return 0.0
    before, after = float(smooth[broken - 1]), float(smooth[broken])
    low, high = math.log(levels[broken - 1]), math.log(levels[broken])
    return math.exp(low + (before - limit.value) / (before - after) * (high - low))


def users_at_limit(
    levels: Sequence[int], values: Sequence[float], limit: Limit, runs: Runs | None = None, seed: int = 0
) -> Estimate | None:
    """The crossing with its 95 % interval; None if there is none between the levels.

    runs: the same figure run by run, resampled as whole repeats (1,000 draws, percentiles; a level measured in none of
    the drawn repeats is left out of the draw). With fewer than three repeats there is no interval. An end of the
    interval beyond the levels is None. Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
    """
    value = crossing(levels, values, limit)
    if not value:
        return None
    n = 1 if runs is None else len(runs.values)
    if runs is None or n < MIN_RUNS:
        return Estimate(value, None, None, n, f"no interval: fewer than {MIN_RUNS} repeats")
    drawn = _drawn(runs, seed)
    found = [_draw(levels, means, limit) for means in drawn]
    low, high = np.quantile(found, [0.025, 0.975], method="inverted_cdf")
    method = f"95 % bootstrap of repeats, {DRAWS} draws"
    if n < 10:
        method += ", too narrow with few repeats"
    return Estimate(value, float(low) if low > 0 else None, float(high) if math.isfinite(high) else None, n, method)


def _drawn(runs: Runs, seed: int) -> Floats:
    """(draws, levels): the weighted means over resampled repeats; NaN where a draw has no run of the level."""
    repeats = len(runs.values)
    known = ~np.isnan(runs.values)
    weights = np.where(known, runs.weights, 0.0)
    counts = np.random.default_rng(seed).multinomial(repeats, [1 / repeats] * repeats, size=DRAWS)
    sums, totals = counts @ (weights * np.where(known, runs.values, 0.0)), counts @ weights
    return np.asarray(np.divide(sums, totals, out=np.full_like(totals, np.nan), where=totals > 0))


def _draw(levels: Sequence[int], means: Floats, limit: Limit) -> float:
    known = [i for i, value in enumerate(means) if not math.isnan(value)]
    if not known:
        return math.inf
    found = crossing([levels[i] for i in known], [float(means[i]) for i in known], limit)
    return math.inf if found is None else found
