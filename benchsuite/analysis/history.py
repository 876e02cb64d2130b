"""Earlier runs of a benchmark as a series: where it changed, and by how much runs differ between changes. Pure.

Values are ln of a figure, worse above 0; a run's is the mean over its repeats. docs/METHODS.md, "Comparing two runs".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchsuite.analysis.regression import Change, pooled_variances, squares
from benchsuite.analysis.requests import Floats
from benchsuite.metrics import ALPHA

MIN_RUNS, MIN_SEGMENT = 8, 3  # runs in which a change is looked for, and between two of them
_SIMULATED = 9_999  # series without a change, of which the statistic's distribution is taken


def change_points(values: Floats) -> list[int]:
    """The places of runs at which a new segment begins, ascending. values: (series, runs).

    Each stretch is split where one series splits best: in two, else into an excursion and what lies around it (which a
    split in two does not see), and the parts again. At most 5 % of histories without a change get one: what a stretch
    may err by is its share of the runs, divided over the series and both ways to split.
    Sources: Sen and Srivastava 1975 (split); Olshen, Venkatraman, Lucito, Wigler 2004 (excursion); Fleming et al. 2023
    (Hunter: a t statistic in place of permutations, which were not deterministic).
    """
    found: list[int] = []

    def split(first: int, end: int) -> None:
        n = end - first
        ways = [excursion for excursion in (False, True) if n >= (2 + excursion) * MIN_SEGMENT]
        for excursion in ways:
            ratio, start, length = _best(values[:, first:end].T, excursion)
            i = int(ratio.argmax())
            beyond = 1 + _SIMULATED - float(np.searchsorted(_without_change(n, excursion), ratio[i]))
            p = (beyond + 2 * math.sqrt(beyond)) / (1 + _SIMULATED)  # with two standard errors of what was simulated
            # beyond what was simulated: at most the t test's p times the places to split at
            t = math.sqrt(ratio[i] * (n - 2) / max(1 - ratio[i], 1e-300))
            p = min(p, _places(n, excursion) * 2 * float(special.stdtr(n - 2, -t)))
            if p <= ALPHA * n / values.shape[1] / len(values) / len(ways):
                cuts = [first + int(start[i])] * excursion + [first + int(start[i] + length[i])]
                found.extend(cuts)
                for part in pairwise([first, *cuts, end]):
                    split(*part)
                return

    if values.shape[1] >= MIN_RUNS and len(values):
        split(0, values.shape[1])
    return sorted(found)


def _best(x: Floats, excursion: bool) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    """Of each column: the greatest share of its sum of squares that lies between a stretch and the rest, the stretch's
    start and length. The share rises with the two-sample t. excursion: rows lie on both sides, else it starts at 0."""
    n = len(x)
    x = x - x.mean(axis=0)
    total = (x * x).sum(axis=0)
    sums = np.vstack([np.zeros_like(x[:1]), x.cumsum(axis=0)])
    greatest, start, length = np.zeros(x.shape[1]), *np.zeros((2, x.shape[1]), np.intp)
    first = MIN_SEGMENT if excursion else 0
    for m in range(MIN_SEGMENT, n - MIN_SEGMENT - first + 1):
        last = n - MIN_SEGMENT - m if excursion else 0
        between = (sums[first + m : last + m + 1] - sums[first : last + 1]) ** 2 * (n / (m * (n - m)))
        at, here = between.argmax(axis=0), between.max(axis=0)
        more = here > greatest
        start, length = np.where(more, at + first, start), np.where(more, m, length)
        greatest = np.maximum(greatest, here)
    flat = total <= 1e-20  # what rounding leaves of runs that are exactly alike
    return np.where(flat, 0.0, greatest / np.where(flat, 1.0, total)), start, length


def _places(n: int, excursion: bool) -> int:
    """How many stretches `_best` looks at."""
    lengths = range(MIN_SEGMENT, n - MIN_SEGMENT * (1 + excursion) + 1)
    return sum(n - 2 * MIN_SEGMENT - m + 1 for m in lengths) if excursion else len(lengths)


@functools.lru_cache(maxsize=256)
def _without_change(n: int, excursion: bool) -> Floats:
    """The statistic of n normal values without a change, ascending: it depends on n and the kind of split alone."""
    return np.sort(_best(np.random.default_rng([n, excursion]).standard_normal((n, _SIMULATED)), excursion)[0])


def step(values: Floats, starts: Sequence[int], at: int) -> float | None:
    """By how much one series (runs,) differs from the segment before the one that begins at `at`.

    None if a two-sample t test (5 %) finds no difference.
    """
    ends = [*starts, len(values)]
    before, after = values[ends[ends.index(at) - 1] : at], values[at : ends[ends.index(at) + 1]]
    (ss_b, df_b), (ss_a, df_a) = squares(before), squares(after)
    theta, df = float(after.mean() - before.mean()), df_a + df_b
    se = math.sqrt((ss_a + ss_b) / df * (1 / len(before) + 1 / len(after)))
    return theta if se <= 0 < abs(theta) or 2 * special.stdtr(df, -abs(theta) / max(se, 1e-300)) <= ALPHA else None


@dataclass(frozen=True, slots=True)
class Noise:
    """What runs of one figure at one level differ by. since: the values of the last segment, of n_runs in all.

    variance: between runs, with its degrees of freedom. of_repeat: the variance of one repeat within a run, NaN where
    no run has two; shrunk: the mean of 1 / repeats. pooled: in words.
    """

    since: Floats
    n_runs: int
    variance: float
    df: float
    of_repeat: float
    shrunk: float
    pooled: str

    def session(self, of_repeat: float) -> float:
        """The part of the variance that is of the session: not what its repeats leave of their own."""
        return max(0.0, self.variance - (0.0 if math.isnan(of_repeat) else of_repeat * self.shrunk))


def noise_of(levels: Sequence[Sequence[Floats]], starts: Sequence[int]) -> list[Noise]:
    """The noise of one figure at each level. levels: of each the runs, of each its repeats. starts: of all segments."""
    values = np.array([[run.mean() for run in runs] for runs in levels])
    n = values.shape[1]
    parts = list(pairwise([*starts, n]))
    residuals = np.concatenate([values[:, a:b] - values[:, a:b].mean(axis=1, keepdims=True) for a, b in parts], axis=1)
    each = [(float(x @ x), float(n - len(parts))) for x in residuals]
    spread, pooled = pooled_variances(each)
    if pooled:  # levels of one session share what the session was: Box's degrees of freedom, 1954
        products = residuals @ residuals.T
        df = each[0][1] * float(np.trace(products) ** 2 / (products**2).sum())
        spread = [(variance, df) for variance, _ in spread]
    found = []
    for row, runs, (variance, df) in zip(values, levels, spread, strict=True):
        total, within = (sum(side) for side in zip(*map(squares, runs), strict=True))
        of_repeat, shrunk = total / within if within else math.nan, sum(1 / len(run) for run in runs) / n
        found.append(Noise(row[starts[-1] :], n, variance, df, of_repeat, shrunk, pooled))
    return found


def against(new: Floats, noise: Noise) -> Change:
    """A run (its repeats, in ln) against the mean of the runs since the last change."""
    n, of_repeat, of_mean = len(new), noise.of_repeat, noise.variance / len(noise.since)
    variance = noise.variance
    if not math.isnan(of_repeat):  # a run of fewer repeats than the others spreads more
        variance += max(0.0, of_repeat * (1 / n - noise.shrunk))
    method = f"t of the spread between runs ({math.sqrt(noise.variance):.1%}{noise.pooled})"
    return Change(
        float(new.mean() - noise.since.mean()), math.sqrt(variance + of_mean), noise.df,
        0.0 if math.isnan(of_repeat) else math.sqrt(of_repeat), n, len(noise.since), method,
        fixed=noise.session(of_repeat) + of_mean,
    )  # fmt: skip


def with_sessions(change: Change, noise: Noise) -> Change:
    """The change between two runs, which are two sessions: repeats within a session do not show what those differ by.

    Where there is one run each, the history replaces the assumed spread.
    """
    of_repeat, within, df = change.sd**2 / 2, change.se**2, change.df
    if assumed := math.isinf(df):
        of_repeat = 0.0 if math.isnan(noise.of_repeat) else noise.of_repeat
        within = 2 * of_repeat
    session = noise.session(of_repeat)
    if not session and not assumed:
        return replace(change, method=f"{change.method}; {noise.n_runs} earlier runs differ by no more")
    total = within + 2 * session
    # Satterthwaite; the session's part is known as well as the variance that it is a part of
    df = total**2 / (within**2 / df + (2 * noise.variance) ** 2 / noise.df) if total > 0 else noise.df
    spread = f"sessions differ by {math.sqrt(session):.1%} ({noise.n_runs} earlier runs{noise.pooled})"
    method = spread if assumed else f"{change.method}; {spread}"
    sd = math.sqrt(2 * of_repeat)
    return replace(change, se=math.sqrt(total), df=df, sd=sd, fixed=2 * session, method=method)
