"""Is a run worse than its baseline by more than a margin? Three answers: pass, fail, inconclusive. Pure.

On the logs of a figure of each run: theta = mean ln(new / baseline), worse being above 0. Fail: theta is proven above
the margin. Pass: proven below it. Else neither is proven, and how many repeats would do is said. Not finding a
difference is never a pass. docs/METHODS.md, "Comparing two runs".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from benchsuite.analysis.requests import Floats
from benchsuite.metrics import ALPHA

Verdict = Literal["pass", "fail", "inconclusive"]
ONE_RUN_CV, ONE_RUN_CV_TAIL = 0.10, 0.25  # what runs are taken to differ by where there is but one: more than most do
MAX_REPEATS = 100  # beyond which the answer is that the effect sits at the margin
_POWER = 0.8
_PAIRS_ALPHA, _SPREADS_ALPHA = 0.05, 0.1  # of the tests whether pairs correlate and whether levels spread alike
DifferenceVerdict = Literal["slower", "faster", "no difference", "not slower", "undecided"]
LOOKS = (0.25, 0.5, 0.75)  # shares of its budget after which a session that may stop is judged


@dataclass(frozen=True, slots=True)
class Change:
    """How much worse the new runs are. All in ln, worse above 0: of rates ln(baseline / new).

    se: standard error of theta, with df degrees of freedom (inf: se is assumed, not measured). sd: what a standard
    error of n repeats each shrinks from; fixed: the part of se^2 that repeats do not shrink. n_new, n_baseline: runs.
    low, high: its interval.
    """

    theta: float
    se: float
    df: float
    sd: float
    n_new: int
    n_baseline: int
    method: str
    fixed: float = 0.0

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


def changes(
    new: Sequence[Floats], baseline: Sequence[Floats], *, paired: bool, higher_is_better: bool, tail: bool = False
) -> list[Change | None]:
    """The change of one figure at each of several levels; None where a run's figure is missing or not above 0.

    new[i], baseline[i]: (n,), (m,) one figure a run at level i, same unit. paired: n == m, and run j of both was in the
    same round or ran the same requests; the pairs are used where they correlate, else it is Welch's t. The variance is
    pooled over the levels unless their spreads differ. One run each at every level: the spread is assumed.
    """
    sign = -1.0 if higher_is_better else 1.0
    pairs = enumerate(zip(new, baseline, strict=True))
    known = [i for i, both in pairs if all(len(x) and np.isfinite(x).all() and (x > 0).all() for x in both)]
    a, b = ([sign * np.log(side[i]) for i in known] for side in (new, baseline))
    found: list[Change | None] = [None] * len(new)
    r = _correlation(a, b) if paired else None
    if r is not None:
        gaps = [x - y for x, y in zip(a, b, strict=True)]
        spread, pooled = pooled_variances(list(map(squares, gaps)))
        for i, d, (variance, df) in zip(known, gaps, spread, strict=True):
            n, method = len(d), f"paired t over {len(d)} repeats (r {r:.2f}){pooled}"
            found[i] = Change(float(d.mean()), math.sqrt(variance / n), df, math.sqrt(variance), n, n, method)
        return found
    (of_a, pooled), (of_b, _) = (pooled_variances(list(map(squares, side))) for side in (a, b))
    cv = ONE_RUN_CV_TAIL if tail else ONE_RUN_CV
    for i, x, y, (var_a, df_a), (var_b, df_b) in zip(known, a, b, of_a, of_b, strict=True):
        n, m, theta = len(x), len(y), float(x.mean() - y.mean())
        if not df_a and not df_b:
            sd, why = cv * math.sqrt(2), f"one run each: a spread of {cv:.0%} between runs is assumed"
            found[i] = Change(theta, sd, math.inf, sd, 1, 1, why)
            continue
        if not df_a or not df_b:  # the side of one run is taken to vary as the other does
            (variance, df), name = (var_a, df_a) if df_a else (var_b, df_b), "pooled t"
            se, sd = math.sqrt(variance * (1 / n + 1 / m)), math.sqrt(2 * variance)
        else:
            parts, name = (var_a / n, var_b / m), "Welch's t"
            se, sd = math.sqrt(sum(parts)), math.sqrt(var_a + var_b)
            df = sum(parts) ** 2 / (parts[0] ** 2 / df_a + parts[1] ** 2 / df_b) if se > 0 else df_a + df_b
        found[i] = Change(theta, se, df, sd, n, m, f"{name}, {n} against {m} runs{pooled}")
    return found


def _correlation(a: Sequence[Floats], b: Sequence[Floats]) -> float | None:
    """How pairs correlate, over all levels; None where that is not shown (one-sided 5 %), or they are no pairs."""
    if not a or any(len(x) != len(y) for x, y in zip(a, b, strict=True)):
        return None
    x, y = (np.concatenate([one - one.mean() for one in side]) for side in (a, b))
    df, scale = len(x) - len(a) - 1, float(np.sqrt((x @ x) * (y @ y)))
    if df < 1 or scale <= 0:
        return None
    r = min(1.0, float(x @ y) / scale)
    p = 0.0 if r == 1.0 else float(special.stdtr(df, -r * math.sqrt(df / (1 - r * r))))
    return r if p < _PAIRS_ALPHA else None


def squares(x: Floats) -> tuple[float, float]:
    """The sum of squares about the mean, and its degrees of freedom."""
    return float(((x - x.mean()) ** 2).sum()), float(len(x) - 1)


def pooled_variances(parts: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], str]:
    """The variance of each sample with its degrees of freedom, and in words whether it is that of all together.

    parts: of each level its `squares`. Pooled where Bartlett's test does not tell the spreads apart: levels of one
    server on one machine differ little.
    """
    several = [part for part in parts if part[1]]
    total, df = (sum(side) for side in zip(*parts, strict=True)) if parts else (0.0, 0.0)
    if len(several) > 1 and (min(part[0] for part in several) <= 0 or _bartlett_p(several) < _SPREADS_ALPHA):
        return [(part / one if one else math.nan, one) for part, one in parts], ""
    pooled = total / df if df else math.nan
    return [(pooled, df)] * len(parts), f", variance pooled over {len(several)} levels" if len(several) > 1 else ""


def _bartlett_p(parts: Sequence[tuple[float, float]]) -> float:
    """P of variances so unlike, were they alike. Source: Snedecor and Cochran, Statistical Methods, chapter 10.21."""
    total, df = np.array(parts).T
    unlike = df.sum() * math.log(total.sum() / df.sum()) - df @ np.log(total / df)
    scale = 1 + ((1 / df).sum() - 1 / df.sum()) / (3 * (len(df) - 1))
    return float(special.chdtrc(len(df) - 1, unlike / scale))


def log_margin(ratio: float, *, higher_is_better: bool) -> float:
    """The margin in ln: 5 % more of a time or cost is ln 1.05, 5 % less of a rate is -ln 0.95."""
    return -math.log1p(-ratio) if higher_is_better else math.log1p(ratio)


def verdicts(changes: Sequence[Change | None], margins: Sequence[float]) -> list[Verdict]:
    """One verdict a criterion, the criteria of one gate together.

    Fails are held to Holm's correction over all criteria (one-sided, 2.5 % in all), so that more criteria do not give
    more false alarms. Passes are not corrected: the gate passes only where every criterion does (intersection-union).
    """
    pairs = list(zip(changes, margins, strict=True))
    failed = _holm([None if one is None else one.p_above(margin) for one, margin in pairs], ALPHA / 2)
    passed = [one is not None and one.p_below(margin) <= ALPHA / 2 for one, margin in pairs]
    return ["fail" if bad else "pass" if good else "inconclusive" for bad, good in zip(failed, passed, strict=True)]


def _holm(ps: Sequence[float | None], level: float) -> list[bool]:
    """Which p are significant when all are looked at: Holm's step-down."""
    rising = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    found = [False] * len(ps)
    for rank, (p, i) in enumerate(rising):
        if p > level / (len(rising) - rank):
            break
        found[i] = True
    return found


def look_alpha(share: float, before: float) -> float:
    """What a session judged at `share` of its budget may err by (two-sided), having been judged at share `before`.

    What is spent between: O'Brien and Fleming's function in the form of Lan and DeMets (1983), 5 % over all looks.
    """

    def spent(at: float) -> float:
        return 0.0 if at <= 0 else float(2 * special.ndtr(special.ndtri(ALPHA / 2) / math.sqrt(min(at, 1.0))))

    return spent(share) - spent(before)


def difference_verdicts(
    changes: Sequence[Change | None], margins: Sequence[float], alpha: float = ALPHA
) -> list[DifferenceVerdict]:
    """What is proven of each criterion, both ways: beyond the margin (Holm over all), or within it (not corrected).

    not slower: proven below the margin, but it may be faster by more than the margin.
    """
    pairs, level = list(zip(changes, margins, strict=True)), alpha / 2
    both = [None if one is None else min(one.p_above(m), one.p_below(-m)) for one, m in pairs]
    found: list[DifferenceVerdict] = []
    for (one, margin), beyond in zip(pairs, _holm(both, level), strict=True):
        below = one is not None and one.p_below(margin) <= level
        above = one is not None and one.p_above(-margin) <= level
        if one is not None and beyond:
            found.append("slower" if one.theta > 0 else "faster")
        else:
            found.append("no difference" if below and above else "not slower" if below else "undecided")
    return found


def more_failures_p(new: tuple[int, int], baseline: tuple[int, int]) -> float:
    """Fisher's exact p, one-sided, of "new fails no more often". Each side: failed, ok."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([new, baseline], alternative="greater").pvalue)


def detectable(se: float, df: float, *, tests: int = 1, criteria: int = 1, alpha: float = ALPHA) -> float:
    """How far from its margin (in ln) the truth is where it is decided four times in five.

    tests: criteria that share the level (Holm's first step). criteria: that are to be decided at once.
    """
    return (_t(1 - alpha / 2 / tests, df) + _t(1 - (1 - _POWER) / criteria, df)) * se


def planned(change: Change, n: int, levels: int = 1) -> tuple[float, float]:
    """The standard error of n repeats each, and its degrees of freedom, if the spread stays. levels: pooled over."""
    kept = change.fixed > 0 or (n == 1 and math.isinf(change.df))
    return math.sqrt(change.fixed + change.sd**2 / n), change.df if kept else levels * (n - 1)


def repeats_needed(
    spread: Change | float,
    distance: float,
    criteria: int = 1,
    *,
    beyond: bool = True,
    levels: int = 1,
    alpha: float = ALPHA,
) -> int | None:
    """Repeats on each side with which every one of `criteria` at this distance from its margin is decided, 4 in 5.

    spread: of a change, or the standard deviation of one repeat's (pair's) ln. beyond: the margin, where the criteria
    share the level too; within it they share the chances alone. levels: that the variance is pooled over. None: more
    than MAX_REPEATS.
    """
    change = spread if isinstance(spread, Change) else Change(0.0, spread, 1, spread, 1, 1, "")
    for n in range(1 if change.fixed else 2, MAX_REPEATS + 1 if distance > 0 else 0):
        se, df = planned(change, n, levels)
        if detectable(se, df, tests=criteria if beyond else 1, criteria=criteria, alpha=alpha) <= distance:
            return n
    return None


@functools.lru_cache(maxsize=8192)  # scipy's takes 0.2 ms, and `repeats_needed` asks for hundreds
def _t(p: float, df: float) -> float:
    return float(special.ndtri(p) if math.isinf(df) else special.stdtrit(df, p))


def _tail(distance: float, se: float, df: float) -> float:
    """P(T > -distance / se): small for a distance far below 0."""
    if se <= 0:
        return 0.0 if distance < 0 else 1.0
    found = special.ndtr(distance / se) if math.isinf(df) else special.stdtr(df, distance / se)
    return float(found)
