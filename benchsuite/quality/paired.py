"""Scores by item: the interval of a mean, of a mean over scenarios, and the difference of two on the same items. Pure.

The unit is the item (a prompt): answers of one item at several repeats are averaged first, as they are right or wrong
together. Scores are from 0 to 1. No interval has width 0: that items were alike proves nothing of the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchsuite.analysis.intervals import SEED, Z, none, wilson
from benchsuite.analysis.requests import Floats
from benchsuite.metrics import ALPHA
from benchsuite.quality.correction import f05
from benchsuite.results import Estimate, ScoreChange

DRAWS = 4000
_FEW = 30  # items, below which the mean's t is resampled instead of taken from Student's
_SKEWED = 1.0  # the same from this skewness on
_MOST_UNITS = 1000  # of a bootstrap: more items are drawn in groups, whose means spread as theirs do
_BINARY = "Wilson, {n} items"
_SHARED = 5  # degrees of freedom of all scenarios in the variance of each: a few items tell little of their own
_APART = "no items on both sides"


def is_binary(scores: Floats) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())


def mean_interval(scores: Floats) -> Estimate:
    """The mean over items with its interval. scores: (n,) one an item, no NaN.

    Of right or wrong: Wilson. Of graded or averaged scores: Student's t, or a resampled t below 30 items and where a
    few items differ from all others; never beyond Wilson's ends, as no score between 0 and 1 spreads more than right
    or wrong does. Items that are all alike: Wilson's ends.
    """
    n = len(scores)
    if not n:
        return none(None, 0, "no scores")
    mean = min(max(float(scores.mean()), 0.0), 1.0)
    low, high = wilson(mean, n, Z)
    if is_binary(scores):
        return Estimate(mean, low, high, n, _BINARY.format(n=n))
    if np.ptp(scores) == 0:
        return Estimate(mean, low, high, n, f"{_BINARY.format(n=n)} that are all alike")
    skewness, error = float(np.mean((scores - mean) ** 3) / scores.std() ** 3), float(scores.std(ddof=1)) / math.sqrt(n)
    if n < _FEW or abs(skewness) > _SKEWED:
        t, method = _resampled_t(scores), f"bootstrap-t over {n} items"
    else:
        half = float(special.stdtrit(n - 1, 1 - ALPHA / 2))
        t, method = (-half, half), f"t over {n} items"
    ends = mean - t[1] * error, mean - t[0] * error
    return Estimate(mean, min(max(ends[0], low), mean), max(min(ends[1], high), mean), n, method)


def _picks(units: int, rng: np.random.Generator, draws: int) -> NDArray[np.int32]:
    return rng.integers(0, units, (draws, units), dtype=np.int32)


def _grouped(columns: Floats) -> Floats:
    """(units, k) sums of groups of items, of as many items as there are where those are few."""
    units = min(len(columns), _MOST_UNITS)
    sums: Floats = np.add.reduceat(columns, np.arange(units) * len(columns) // units, axis=0)
    return sums


def _resampled_t(scores: Floats) -> tuple[float, float]:
    """The quantiles of the mean's t over resampled items; infinite where a resample has no spread.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 12.5.
    """
    sums = _grouped(np.column_stack([scores, np.ones(len(scores))]))
    means, units = sums[:, 0] / sums[:, 1], len(sums)
    drawn = means[_picks(units, np.random.default_rng(SEED), DRAWS)]
    off, error = drawn.mean(axis=1) - means.mean(), drawn.std(axis=1, ddof=1) / math.sqrt(units)
    t = np.where(error > 0, off / np.where(error > 0, error, 1.0), np.where(off == 0, 0.0, np.copysign(np.inf, off)))
    low, high = np.quantile(t, [ALPHA / 2, 1 - ALPHA / 2], method="inverted_cdf")
    return float(low), float(high)


def wilson_draws(p: float, n: int, z: Floats) -> Floats:
    """Draws of a true share whose quantiles are Wilson's limits: the score interval's end at each normal `z`.

    p: of n items; z: (draws,) standard normal. Unlike draws from Binomial(n, p) they do not stand still at 0 or 1.
    Source: Wilson, JASA 22 (1927).
    """
    zz = z * z
    drawn: Floats = (p + zz / (2 * n) + z * np.sqrt(p * (1 - p) / n + zz / (4 * n * n))) / (1 + zz / n)
    return drawn


def _draws(items: Floats, rng: np.random.Generator, draws: int) -> tuple[Floats, tuple[float, float] | None]:
    """The draws (draws,) of one scenario's score, items drawn with replacement; where all are alike its value, and
    how far Wilson's ends are from it."""
    n, of_edits = len(items), items.ndim == 2
    value = float(f05(items.sum(axis=0)) if of_edits else items.mean())
    if n < 2 or np.ptp(f05(items) if of_edits else items) == 0:
        low, high = wilson(min(max(value, 0.0), 1.0), n, Z)
        return np.full(draws, value), (value - low, high - value)
    sums = _grouped(items if of_edits else np.column_stack([items, np.ones(n)]))
    picks, units = _picks(len(sums), rng, draws), len(sums)
    total = np.column_stack([column[picks].sum(axis=1) for column in sums.T])
    drawn = f05(total) if of_edits else total[:, 0] / total[:, 1]
    # a sample spreads less than what it is of
    return np.clip(value + (drawn - value) * math.sqrt(units / (units - 1)), 0.0, 1.0), None


def score_draws(scenarios: Mapping[str, Floats], *, seed: int = SEED, draws: int = DRAWS) -> Floats:
    """(draws,) of the unweighted mean of the scenarios' scores: a bootstrap stratified by scenario.

    scenarios: by name (n,) scores of items, or (n, 3) their edits, whose F0.5 is of the sums; every one n >= 1. The
    same items give the same draws, so that those of two levels or models belong together. What scenarios of items that
    are all alike leave open is added as Wilson's ends have it, its parts in quadrature.
    """
    total, open_ = np.zeros(draws), np.zeros(2)
    for i, name in enumerate(sorted(scenarios)):
        drawn, ends = _draws(scenarios[name], np.random.default_rng((seed, i)), draws)
        total += drawn
        open_ += 0.0 if ends is None else np.square(ends)
    z = np.random.default_rng((seed, len(scenarios))).standard_normal(draws) / Z
    total += np.where(z < 0, math.sqrt(open_[0]), math.sqrt(open_[1])) * z
    return np.clip(total / len(scenarios), 0.0, 1.0)


def scenario_interval(items: Floats) -> Estimate:
    """The score of one scenario: of (n,) scores their mean, of (n, 3) edits the F0.5 of their sums, resampled."""
    if items.ndim == 1 or not len(items):
        return mean_interval(items)
    value = float(f05(items.sum(axis=0)))
    low, high = np.quantile(score_draws({"": items}), [ALPHA / 2, 1 - ALPHA / 2])
    if len(items) > 1:  # as wide as Student's t of so few items
        factor = float(special.stdtrit(len(items) - 1, 1 - ALPHA / 2)) / Z
        low, high = max(value - factor * (value - low), 0.0), min(value + factor * (high - value), 1.0)
    method = f"bootstrap of summed edits, {len(items)} items"
    return Estimate(value, min(float(low), value), max(float(high), value), len(items), method)


def overall_interval(scenarios: Mapping[str, Floats]) -> Estimate:
    """The unweighted mean of the scenarios' scores with its interval. scenarios: as for score_draws; those without an
    item are left out."""
    known = {name: items for name, items in scenarios.items() if len(items)}
    if len(known) < 2:
        return scenario_interval(next(iter(known.values()), np.empty(0)))
    value = float(np.mean([f05(items.sum(axis=0)) if items.ndim == 2 else items.mean() for items in known.values()]))
    low, high = np.quantile(score_draws(known), [ALPHA / 2, 1 - ALPHA / 2])
    n = sum(map(len, known.values()))
    method = f"bootstrap of {n} items in {len(known)} scenarios"
    return Estimate(value, min(float(low), value), max(float(high), value), n, method)


def newcombe(both: int, first: int, second: int, neither: int) -> Estimate:
    """The difference of two proportions on the same items, first - second. first: items right on that side alone.

    Source: Newcombe, Statistics in Medicine 17 (1998) 2635, method 10.
    """
    n = both + first + second + neither
    if not n:
        return none(None, 0, _APART)
    p1, p2 = (both + first) / n, (both + second) / n
    (l1, u1), (l2, u2) = wilson(p1, n, Z), wilson(p2, n, Z)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    product = both * neither - first * second
    phi = (max(product - n / 2, 0.0) if product > 0 else product) / math.sqrt(margins) if margins else 0.0
    value = (first - second) / n

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    low, high = value - reach(p1 - l1, u2 - p2), value + reach(u1 - p1, p2 - l2)
    return Estimate(value, low, high, n, f"Newcombe's paired interval, {n} items")


def mcnemar(first: int, second: int) -> float:
    """The exact two-sided p of as many items right on one side alone as on the other."""
    return min(1.0, 2 * float(special.bdtr(min(first, second), first + second, 0.5)))


def difference(first: Mapping[str, float], second: Mapping[str, float]) -> ScoreChange:
    """first - second over the items that both have. Right or wrong on both sides: Newcombe's interval and the exact
    McNemar test; else a paired t. Items of one side alone are left out, and counted."""
    items = [item for item in first if item in second]
    a, b = (np.array([side[item] for item in items]) for side in (first, second))
    left_out, n = len(first) + len(second) - 2 * len(items), len(items)
    if not n:
        return ScoreChange(none(None, 0, _APART), None, left_out)
    if is_binary(a) and is_binary(b):
        both, one, other = (int(np.sum(cell)) for cell in (a * b, a > b, a < b))
        return ScoreChange(newcombe(both, one, other, n - both - one - other), mcnemar(one, other), left_out)
    d = a - b
    value, error = float(d.mean()), float(d.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if error <= 1e-12:
        return _alike(value, wilson(0.0, n, Z)[1], n, left_out)
    return _paired_t(value, error, n - 1, n, left_out, f"paired t, {n} items")


def _alike(value: float, reach: float, n: int, left_out: int) -> ScoreChange:
    """Of n items that all differ alike; reach: as many as a share up to Wilson's may still differ, by at most 1."""
    p = 1.0 if abs(value) <= 1e-12 else mcnemar(n, 0)
    return _change(value, reach, p, n, left_out, f"{n} items, all differing alike")


def _paired_t(value: float, error: float, df: float, n: int, left_out: int, method: str) -> ScoreChange:
    half = float(special.stdtrit(df, 1 - ALPHA / 2)) * error
    return _change(value, half, 2 * float(special.stdtr(df, -abs(value) / error)), n, left_out, method)


def _change(value: float, half: float, p: float, n: int, left_out: int, method: str) -> ScoreChange:
    low, high = max(value - half, -1.0), min(value + half, 1.0)
    return ScoreChange(Estimate(value, low, high, n, method), p, left_out)


def overall_difference(
    first: Mapping[str, Mapping[str, float]], second: Mapping[str, Mapping[str, float]]
) -> ScoreChange:
    """first - second of the unweighted means over scenarios, each over the items that both sides have.

    first, second: scores by scenario and item. Of several scenarios a paired t stratified by scenario, with Welch's
    degrees of freedom and one more item that differs by 1, for where few do (as Agresti and Min, Statistics in Medicine
    24 (2005), for proportions).
    """
    both = {name: [item for item in items if item in second.get(name, {})] for name, items in first.items()}
    known = [name for name, items in both.items() if items]
    if len(known) < 2:
        sides = ({item: score for items in side.values() for item, score in items.items()} for side in (first, second))
        return difference(*sides)
    n = sum(len(both[name]) for name in known)
    left_out = sum(len(items) for side in (first, second) for items in side.values()) - 2 * n
    each = [np.array([first[name][item] - second[name][item] for item in both[name]]) for name in known]
    value, weight = float(np.mean([d.mean() for d in each])), 1 / len(each)
    squares = [float(np.square(d - d.mean()).sum()) for d in each]
    if max(squares) <= 1e-24:
        reach = float(np.linalg.norm([wilson(0.0, len(d), Z)[1] for d in each])) * weight
        return _alike(value, reach, n, left_out)
    usual, df_of = sum(squares) / max(n - len(each), 1), [len(d) - 1 + _SHARED for d in each]
    parts = [(own + _SHARED * usual) / df * weight**2 / len(d) for own, df, d in zip(squares, df_of, each, strict=True)]
    spread = sum(parts)
    df = spread**2 / sum(part**2 / own for part, own in zip(parts, df_of, strict=True))
    method = f"paired t over {n} items in {len(known)} scenarios"
    return _paired_t(value, math.sqrt(spread + 1 / n**2), df, n, left_out, method)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's corrected p of several tests, in their order. Source: Holm, Scand. J. Stat. 6 (1979)."""
    order, corrected, least = np.argsort(ps), [0.0] * len(ps), 0.0
    for i, at in enumerate(order):
        least = max(least, min(1.0, (len(ps) - i) * ps[at]))
        corrected[at] = least
    return corrected
