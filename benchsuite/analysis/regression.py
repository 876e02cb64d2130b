"""Is a run worse than its baseline by more than a margin? Three answers: pass, fail, inconclusive. Pure.

On the logs of a figure of each run: theta = mean ln(new / baseline), worse being above 0. Fail: theta is proven above
the margin. Pass: proven below it. Else neither is proven, and how many repeats would do is said. Not finding a
difference is never a pass. docs/METHODS.md, "Comparing two runs".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from benchsuite.analysis.intervals import ALPHA
from benchsuite.analysis.requests import Floats

Verdict = Literal["pass", "fail", "inconclusive"]
ONE_RUN_CV, ONE_RUN_CV_TAIL = 0.10, 0.25  # what runs are taken to differ by where there is but one: more than most do
MAX_REPEATS = 100  # beyond which the answer is that the effect sits at the margin
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Change:
    """How much worse the new runs are. All in ln, worse above 0: of rates ln(baseline / new).

    se: standard error of theta, with df degrees of freedom (inf: se is assumed, not measured). sd: what a standard
    error of n repeats each shrinks from, sd / sqrt(n). n_new, n_baseline: runs. low, high: its 95 % interval.
    """

    theta: float
    se: float
    df: float
    sd: float
    n_new: int
    n_baseline: int
    method: str

    @property
    def low(self) -> float:
        return self.theta - _t(1 - ALPHA / 2, self.df) * self.se

    @property
    def high(self) -> float:
        return self.theta + _t(1 - ALPHA / 2, self.df) * self.se

    def p_above(self, margin: float) -> float:
        """One-sided p of "theta is at most margin": small where it is proven above."""
        return _tail(margin - self.theta, self.se, self.df)

    def p_below(self, margin: float) -> float:
        """One-sided p of "theta is at least margin": small where it is proven below."""
        return _tail(self.theta - margin, self.se, self.df)


def change(new: Floats, baseline: Floats, *, paired: bool, higher_is_better: bool, tail: bool = False) -> Change | None:
    """The change of one figure between two sets of runs; None where a run's figure is missing or not above 0.

    new, baseline: (n,), (m,) one figure a run, same unit; paired: n == m, run i of both ran the same requests in the
    same order. Otherwise Welch's t, or the pooled one where a side has one run. One run each: the spread is assumed.
    """
    if not (len(new) and len(baseline)) or not all(np.isfinite(v).all() and (v > 0).all() for v in (new, baseline)):
        return None
    sign = -1.0 if higher_is_better else 1.0
    a, b = sign * np.log(new), sign * np.log(baseline)
    n, m = len(a), len(b)
    theta = float(a.mean() - b.mean())
    if n == m == 1:
        cv = ONE_RUN_CV_TAIL if tail else ONE_RUN_CV
        sd = cv * math.sqrt(2)
        return Change(theta, sd, math.inf, sd, 1, 1, f"one run each: a spread of {cv:.0%} between runs is assumed")
    if paired:
        sd = float((a - b).std(ddof=1))
        return Change(theta, sd / math.sqrt(n), n - 1, sd, n, m, f"paired t over {n} repeats")
    if min(n, m) == 1:
        several = a if n > 1 else b
        one_sd = float(several.std(ddof=1))
        se, df = one_sd * math.sqrt(1 + 1 / len(several)), float(len(several) - 1)
        return Change(theta, se, df, one_sd * math.sqrt(2), n, m, f"pooled t, {n} against {m} runs")
    parts = float(a.var(ddof=1)) / n, float(b.var(ddof=1)) / m
    se = math.sqrt(sum(parts))
    df = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1)) if se > 0 else float(n + m - 2)
    sd = math.sqrt(float(a.var(ddof=1)) + float(b.var(ddof=1)))
    return Change(theta, se, df, sd, n, m, f"Welch's t, {n} against {m} runs")


def log_margin(ratio: float, *, higher_is_better: bool) -> float:
    """The margin in ln: 5 % more of a time or cost is ln 1.05, 5 % less of a rate is -ln 0.95."""
    return -math.log1p(-ratio) if higher_is_better else math.log1p(ratio)


def verdicts(changes: Sequence[Change | None], margins: Sequence[float]) -> list[Verdict]:
    """One verdict a criterion, the criteria of one gate together.

    Fails are held to Holm's correction over all criteria (one-sided, 2.5 % in all), so that more criteria do not give
    more false alarms. Passes are not corrected: the gate passes only where every criterion does (intersection-union).
    """
    known = [(i, one) for i, one in enumerate(changes) if one is not None]
    found: list[Verdict] = ["inconclusive"] * len(changes)
    for i, one in known:
        if one.p_below(margins[i]) <= ALPHA / 2:
            found[i] = "pass"
    rising = sorted((one.p_above(margins[i]), i) for i, one in known)
    for rank, (p, i) in enumerate(rising):
        if p > ALPHA / 2 / (len(rising) - rank):
            break
        found[i] = "fail"
    return found


def repeats_needed(sd: float, distance: float, criteria: int = 1) -> int | None:
    """Repeats on each side with which an effect `distance` from its margin is decided four times in five.

    sd: of one repeat's (pair's) ln; criteria: how many share the level of a fail. None: more than MAX_REPEATS.
    """
    if distance <= 0:
        return None
    level = 1 - ALPHA / 2 / criteria
    for n in range(2, MAX_REPEATS + 1):
        if (_t(level, n - 1) + _t(_POWER, n - 1)) * sd / math.sqrt(n) <= distance:
            return n
    return None


def _t(p: float, df: float) -> float:
    return float(stats.norm.ppf(p) if math.isinf(df) else stats.t.ppf(p, df))


def _tail(distance: float, se: float, df: float) -> float:
    """P(T > -distance / se): small for a distance far below 0."""
    if se <= 0:
        return 0.0 if distance < 0 else 1.0
    found = stats.norm.cdf(distance / se) if math.isinf(df) else stats.t.cdf(distance / se, df)
    return float(found)
