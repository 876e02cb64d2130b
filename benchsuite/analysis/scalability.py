"""Between two measured levels: the number of users at which a figure reaches its limit, with its interval. Pure."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from benchsuite.metrics import ALPHA, CONFIDENCE
from benchsuite.results import Estimate
from benchsuite.slo import Limit

MIN_LEVELS = 4  # three parameters, and one level more to be wrong about
MIN_BULGE = 0.05  # of the scaled axis; what bends less is a straight line
MAX_EXTRAPOLATION = 2.0  # a peak further out than this times the highest level is no finding

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Usl:
    """X(N) = rate N / (1 + contention (N - 1) + coherency N (N - 1)): lambda, sigma, kappa of the law.

    rate: output tokens/s of one user. n_max: users at the peak, sqrt((1 - sigma) / kappa); None: no peak in range, that
    is up to twice the highest level. residuals: (fitted - measured) / measured by level, of the levels in order.
    r_squared: of X, not of ln X; None where X does not vary.
    """

    rate_tok_s: float
    contention: float
    coherency: float
    n_max: float | None
    residuals: tuple[float, ...]
    r_squared: float | None

    def at(self, users: float) -> float:
        """Output tokens/s at `users`."""
        return float(_law(np.array([self.rate_tok_s, self.contention, self.coherency]), np.array([users]))[0])


def elasticities(levels: Sequence[float], output_tok_s: Sequence[float]) -> list[float]:
    """d ln X / d ln N of every level to the one before it: (n - 1,). levels ascending, rates above 0."""
    pairs = zip(levels, levels[1:], output_tok_s, output_tok_s[1:], strict=False)
    return [math.log(above / below) / math.log(high / low) for low, high, below, above in pairs]


def elasticity_slope(levels: Sequence[float], output_tok_s: Sequence[float]) -> Estimate | None:
    """Change of the elasticity per ln N: 2 c of ln X = a + b ln N + c ln^2 N by least squares, with its t interval.

    None with fewer than four levels. Not a line through the elasticities: neighbouring steps share a level, so that
    their errors are correlated (-1/2) and a t interval over them is about twice too wide.
    """
    n = len(levels)
    if n < MIN_LEVELS:
        return None
    log_n = np.log(np.asarray(levels, float))
    log_n -= log_n.mean()  # moves a and b, not c
    terms = np.column_stack([np.ones(n), log_n, log_n**2])
    log_x = np.log(np.asarray(output_tok_s, float))
    fitted = np.linalg.lstsq(terms, log_x, rcond=None)[0]
    variance = float(np.sum((log_x - terms @ fitted) ** 2)) / (n - 3)
    slope = 2 * float(fitted[2])
    half = float(stdtrit(n - 3, 1 - ALPHA / 2)) * 2 * math.sqrt(variance * np.linalg.inv(terms.T @ terms)[2, 2])
    return Estimate(slope, slope - half, slope + half, n, f"{CONFIDENCE} t, ln X on ln N and ln^2 N")


def fit_usl(levels: Sequence[float], output_tok_s: Sequence[float], *, robust: bool = True) -> Usl | None:
    """The law through the levels; None with fewer than four. levels ascending, rates above 0.

    robust: least squares of ln X with soft-L1 loss (scale 0.1), so that a bad run moves the curve little and stands out
    in `residuals`; otherwise plain least squares of X. All parameters at least 0. Source: Gunther, Guerrilla Capacity
    Planning (2007), ch. 4-5.
    """
    return None if len(levels) < MIN_LEVELS else _fitted(tuple(levels), tuple(output_tok_s), robust)


@functools.lru_cache(maxsize=256)  # warnings, scaling and the page ask for the same levels
def _fitted(levels: tuple[int, ...], output_tok_s: tuple[float, ...], robust: bool) -> Usl:
    from scipy.optimize import least_squares

    n, x = np.asarray(levels, float), np.asarray(output_tok_s, float)
    fastest = float(np.max(x / n))

    def residuals(parameters: Floats) -> Floats:
        fitted = _law(parameters, n)
        return np.asarray(np.log(fitted) - np.log(x) if robust else fitted - x)

    loss: dict[str, Any] = {"loss": "soft_l1", "f_scale": 0.1} if robust else {}
    found = least_squares(
        residuals,
        [fastest, 0.05, 1e-4],
        bounds=([fastest * 1e-9, 0.0, 0.0], np.inf),  # ln X needs a rate above 0
        x_scale=[fastest, 1e-2, 1e-4],
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
        **loss,
    ).x
    fitted, spread = _law(found, n), float(np.sum((x - x.mean()) ** 2))
    rate, contention, coherency = (float(value) for value in found)
    peak = math.sqrt((1 - contention) / coherency) if coherency > 0 and contention < 1 else math.inf
    return Usl(
        rate_tok_s=rate,
        contention=contention,
        coherency=coherency,
        n_max=peak if peak <= MAX_EXTRAPOLATION * levels[-1] else None,
        residuals=tuple(float(value) for value in fitted / x - 1),
        r_squared=1 - float(np.sum((fitted - x) ** 2)) / spread if spread > 0 else None,
    )


def _law(parameters: Floats, n: Floats) -> Floats:
    rate, contention, coherency = parameters
    return np.asarray(rate * n / (1 + contention * (n - 1) + coherency * n * (n - 1)))


def knee(levels: Sequence[float], output_tok_s: Sequence[float]) -> float | None:
    """The level furthest above the chord from the first to the last, both axes scaled to 0..1; a label, no decision.

    None with fewer than three levels, where none lies 0.05 above the chord, or where X does not rise.
    Source: Satopaa et al., "Finding a Kneedle in a Haystack" (2011), without its smoothing and sensitivity.
    """
    n, x = np.asarray(levels, float), np.asarray(output_tok_s, float)
    if len(n) < 3 or x[-1] <= x[0]:
        return None
    above = (x - x[0]) / (x[-1] - x[0]) - (n - n[0]) / (n[-1] - n[0])
    best = int(np.argmax(above))
    return levels[best] if above[best] > MIN_BULGE else None


MIN_RUNS = 3
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Runs:
    """One figure of single runs: (repeats, levels), NaN where a repeat lacks a level.

    weights: what its mean over runs is weighted by: seconds for rates, requests for latencies. Same shape.
    """

    values: Floats
    weights: Floats


def crossing(levels: Sequence[float], values: Sequence[float], limit: Limit) -> float | None:
    """The number of users from which `limit` is violated, interpolated; 0.0: at none of the levels, None: at no level.

    Isotonic regression of the values (falling for per-user rates, rising for latencies and errors), then linear in
    ln N between levels. levels ascending, at least one. Raises ValueError for a metric without a direction.
    """
    from scipy.optimize import isotonic_regression

    trend = limit.statistic.metric.with_users
    if trend is None:
        raise ValueError(f"{limit.name} neither falls nor rises with users by its nature")
    smooth = isotonic_regression(np.asarray(values, float), increasing=trend == "rises").x
    broken = next((i for i, value in enumerate(smooth) if not limit.holds(float(value))), None)
    if broken is None:
        return None
    if broken == 0:
        return 0.0
    before, after = float(smooth[broken - 1]), float(smooth[broken])
    low, high = math.log(levels[broken - 1]), math.log(levels[broken])
    return math.exp(low + (before - limit.value) / (before - after) * (high - low))


def users_at_limit(
    levels: Sequence[float], values: Sequence[float], limit: Limit, runs: Runs | None = None, seed: int = 0
) -> Estimate | None:
    """The crossing with its interval; None if there is none between the levels.

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
    known = ~np.isnan(runs.values)
    weights = np.where(known, runs.weights, 0.0)
    counts = np.random.default_rng(seed).multinomial(n, [1 / n] * n, size=DRAWS)
    sums, totals = counts @ (weights * np.where(known, runs.values, 0.0)), counts @ weights
    found = []
    for above, below in zip(sums, totals, strict=True):  # a draw may have no run of a level
        drawn = [(level, float(x / y)) for level, x, y in zip(levels, above, below, strict=True) if y > 0]
        users = crossing([level for level, _ in drawn], [value for _, value in drawn], limit) if drawn else None
        found.append(math.inf if users is None else users)
    low, high = np.quantile(found, [ALPHA / 2, 1 - ALPHA / 2], method="inverted_cdf")
    method = f"{CONFIDENCE} bootstrap of repeats, {DRAWS} draws"
    if n < 10:
        method += ", too narrow with few repeats"
    return Estimate(value, float(low) if low > 0 else None, float(high) if math.isfinite(high) else None, n, method)
