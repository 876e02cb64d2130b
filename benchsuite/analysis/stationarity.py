"""Did a run settle, and did it stay where it settled? Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchsuite.analysis.dependence import effective_size
from benchsuite.analysis.rows import Floats

MIN_VALUES = 100  # below, neither question has an answer
_BATCH = 5


@dataclass(frozen=True, slots=True)
class Cut:
    """index: the first value of the steady part. steady: False when the best cut is the latest that was allowed."""

    index: int
    steady: bool


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the values moved. change_ratio: the rise from start to end, or half to half, relative to the mean."""

    change_ratio: float
    p_value: float


def mser5(values: Floats) -> Cut | None:
    """Where the warming up ends: the cut that makes the mean of the rest most certain, in steps of five values.

    values: (n,) in time order, no NaN; None for fewer than 100. Minimises sum((Y - mean)^2) / (m - d)^2 over the cuts
    d <= m / 2, Y = means of 5. Source: White (1997), MSER; White, Cobb and Spratt (2000), MSER-5.
    """
    n = len(values)
    if n < MIN_VALUES:
        return None
    means = values[: n // _BATCH * _BATCH].reshape(-1, _BATCH).mean(axis=1)
    m = len(means)
    left = m - np.arange(m // 2 + 1)  # batches after each cut
    after = np.cumsum(means[::-1])[::-1][: len(left)]
    centred = means - means.mean()  # the squares of small differences, not small differences of squares
    squares = np.cumsum((centred**2)[::-1])[::-1][: len(left)]
    sums = after - left * means.mean()
    spread = np.maximum(squares - sums**2 / left, 0.0)
    best = int(np.argmin(spread / left.astype(np.float64) ** 2))
    return Cut(index=best * _BATCH, steady=best < m // 2)


def drift(values: Floats) -> Drift | None:
    """The slope of `values` over their order, tested with n_eff in place of n.

    values: (n,) in time order, no NaN; None for fewer than 100, or where they do not vary or have mean 0.
    """
    n = len(values)
    mean = float(values.mean()) if n else 0.0
    if n < MIN_VALUES or mean == 0 or float(np.ptp(values)) == 0:
        return None
    at = np.arange(n) - (n - 1) / 2
    width = float(np.dot(at, at))
    slope = float(np.dot(at, values)) / width
    residuals = _within_halves(values)
    n_eff = max(effective_size(residuals), 3.0)
    error = math.sqrt(float(np.dot(residuals, residuals)) / (n_eff - 2) / (width * n_eff / n))
    p_value = 0.0 if error == 0 else 2 * float(stats.t.sf(abs(slope) / error, n_eff - 2))
    return Drift(change_ratio=slope * (n - 1) / mean, p_value=p_value)


def step(values: Floats) -> Drift | None:
    """The second half's mean against the first's, tested with the n_eff of what varies about a line in each.

    values: (n,) in time order, no NaN; None as for `drift`.
    """
    n = len(values)
    mean = float(values.mean()) if n else 0.0
    if n < MIN_VALUES or mean == 0 or float(np.ptp(values)) == 0:
        return None
    half = n // 2
    first, second = values[:half], values[half:]
    rise = float(second.mean() - first.mean())
    within = _within_halves(values)
    n_eff = max(effective_size(within), 4.0)
    error = 2 * math.sqrt(float(np.dot(within, within)) / n / (n_eff - 2))
    p_value = 0.0 if error == 0 else 2 * float(stats.t.sf(abs(rise) / error, n_eff - 2))
    return Drift(change_ratio=rise / mean, p_value=p_value)


def _within_halves(values: Floats) -> Floats:
    """What varies about a line in each half: the noise, of which a slope, a step or a bend is no part."""
    half = len(values) // 2
    return np.concatenate([_detrended(values[:half]), _detrended(values[half:])])


def _detrended(values: Floats) -> Floats:
    at = np.arange(len(values)) - (len(values) - 1) / 2
    line: Floats = values.mean() + at * (np.dot(at, values) / np.dot(at, at))
    return values - line
