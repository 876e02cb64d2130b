"""What it takes to resample a level against an SLO: sums of blocks of its requests, for every limit. Pure.

Every figure that a limit speaks of is a ratio of two sums over requests, so that a resampled run is a sum of blocks. A
request's part of the wall time is its share of the time in flight: T = sum(W') / (occupancy N), exactly. A percentile
keeps its limit when enough requests do, so it is a share of requests.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchsuite.analysis.autocorrelation import effective_size
from benchsuite.analysis.intervals import BlockSums, block_for, block_sums
from benchsuite.analysis.requests import Bools, Floats, LevelRows, Repeat, Rows
from benchsuite.slo import Limit

CONFIDENCE = 0.99
TailVerdict = Literal["met", "not met", "undecided"]


@functools.lru_cache(maxsize=4096)
def n_min(p: float, violations: int, confidence: float = CONFIDENCE) -> int:
    """The fewest requests with which `violations` of them beyond the limit still prove that a share p is within it.

    The smallest n with P(Binomial(n, 1 - p) <= violations) <= 1 - confidence.
    """
    low, high = violations, violations + 1
    while stats.binom.cdf(violations, high, 1 - p) > 1 - confidence:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if stats.binom.cdf(violations, middle, 1 - p) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def max_violations(n: int, p: float, confidence: float = CONFIDENCE) -> int | None:
    """The most violations among n requests that still pass; None if n is too small to pass with none."""
    if n < n_min(p, 0, confidence):
        return None
    most = int(stats.binom.ppf(1 - confidence, n, 1 - p))
    while stats.binom.cdf(most, n, 1 - p) > 1 - confidence:
        most -= 1
    return most


def tail_verdict(n: int, violations: int, p: float, n_eff: float, confidence: float = CONFIDENCE) -> TailVerdict:
    """Whether a share p of all requests keeps the limit, of which `violations` of n did not.

    With dependent requests n_eff stands for n, and the violations are scaled with it, upwards. Not met: so many
    violations would be as unlikely (1 - confidence) if the share were kept.
    """
    m = math.floor(n_eff)
    t = min(m, math.ceil(violations * m / n - 1e-9)) if n else 0
    most = max_violations(m, p, confidence)
    if most is not None and t <= most:
        return "met"
    if m and t and float(stats.binom.sf(t - 1, m, 1 - p)) <= 1 - confidence:
        return "not met"
    return "undecided"


_FAR = 50.0  # e^50 is beyond any limit


@dataclass(frozen=True, slots=True)
class TailCount:
    """Requests (or gaps) that a percentile limit speaks of, over all runs; those beyond it; the independent ones."""

    n: int
    violations: int
    n_eff: float


@dataclass(frozen=True, slots=True)
class SloResampling:
    """One level, ready to be resampled.

    runs: per repeat the block sums of wall time, then of what is above and below the line of each limit's figure.
    tails: by limit, None where the limit is not one on a share of requests, as percentiles and attainment are.
    """

    concurrency: int
    limits: tuple[Limit, ...]
    repeats: tuple[int, ...]
    runs: tuple[BlockSums, ...]
    tails: tuple[TailCount | None, ...]

    def draw(self, picks: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """(draws, k) sums over the runs that `picks` (draws, runs) names by place, each resampled anew."""
        draws, n_runs = picks.shape
        total = np.zeros((draws, 1 + 2 * len(self.limits)))
        for place, run in enumerate(self.runs):
            for slot in range(n_runs):
                chosen = np.flatnonzero(picks[:, slot] == place)
                if len(chosen):
                    total[chosen] += run.draw(rng, len(chosen))
        return total

    def stretched(self, total: Floats, factor: Floats) -> Floats:
        """The draws with their distance from what was measured times `factor` (draws,), in logs; counts stay."""
        measured = sum(run.sums.mean(axis=0) * run.n_blocks for run in self.runs)
        counts = [limit.statistic.metric.share or limit.share is not None for limit in self.limits]
        fixed = np.array([False, *np.repeat(counts, 2)]) | (measured <= 0)
        ratio = np.where(total > 0, total, measured) / np.where(measured > 0, measured, 1.0)
        logs = np.clip(np.log(np.where(fixed, 1.0, ratio)) * factor[:, None], -_FAR, _FAR)
        wider: Floats = np.where(fixed, total, measured * np.exp(logs))
        return wider

    def kept(self, total: Floats) -> Bools:
        """(draws, limits): whether each limit holds in each draw. A figure without a value keeps nothing."""
        columns = []
        for i, limit in enumerate(self.limits):
            above, below = total[:, 1 + 2 * i], total[:, 2 + 2 * i]
            if limit.share is None:
                columns.append((below > 0) & limit.holds(above / np.where(below > 0, below, 1.0)))
            else:
                columns.append((below > 0) & (above >= limit.share * below * (1 - 1e-12)))
        kept: Bools = np.column_stack(columns) if columns else np.ones((len(total), 0), dtype=np.bool_)
        return kept


def slo_resampling(level: LevelRows, limits: Sequence[Limit]) -> SloResampling:
    """The block sums of one level. Blocks are as long as TTFT, TPOT or duration ask for."""
    parts = [_columns(level, limit) for limit in limits]
    durations_s = np.nan_to_num(level.rows.closed_s - level.rows.sent_s)
    found = []
    for run in level.repeats:
        mine = durations_s[run.order]
        share = mine / mine.sum() if mine.sum() > 0 else np.full(len(mine), 1 / len(mine))
        duration_s = share * run.duration_s
        own = {"duration_s": duration_s, "user_s": duration_s * level.concurrency}
        columns = [duration_s]
        for above, below in parts:
            columns += [above[run.order], own[below] if isinstance(below, str) else below[run.order]]
        each = (level.each["ttft_s"][run.order], level.each["tpot_s"][run.order], mine)
        known = [values[~np.isnan(values)] for values in each]
        block = max(block_for(values, level.concurrency) for values in known if len(values))
        found.append(block_sums(np.column_stack(columns), block))
    return SloResampling(
        concurrency=level.concurrency,
        limits=tuple(limits),
        repeats=tuple(run.repeat for run in level.repeats),
        runs=tuple(found),
        tails=tuple(_tail(limit, *part, level.repeats) for limit, part in zip(limits, parts, strict=True)),
    )


def _columns(level: LevelRows, limit: Limit) -> tuple[Floats, Floats | str]:
    """Per request: what is summed above and below the line; below as text: what a run has, not a request."""
    metric, n = limit.statistic.metric, len(level.rows.ok)
    if metric.ratio is not None:
        above, below = metric.ratio
        if any(name not in level.sums for name in above):  # no request tells: nothing keeps the limit
            return np.zeros(n), np.zeros(n)
        total = sum((np.nan_to_num(level.sums[name]) for name in above), start=np.zeros(n))
        return total, np.nan_to_num(level.sums[below]) if below in level.sums else below
    if metric.each == "chunks":
        return _gaps(level.rows, limit)
    values = level.each[metric.key]
    known = ~np.isnan(values)
    if limit.share is None:
        return np.nan_to_num(values), known.astype(np.float64)
    return (known & limit.holds(np.nan_to_num(values))).astype(np.float64), known.astype(np.float64)


def _gaps(rows: Rows, limit: Limit) -> tuple[Floats, Floats]:
    """The same for the gaps between chunks, which a request has many of."""
    lengths = rows.gap_counts()
    gaps_s = rows.gaps_of(np.ones(len(rows.ok), dtype=np.bool_)) * 1e-6
    counted = gaps_s if limit.share is None else limit.holds(gaps_s).astype(np.float64)
    running = np.concatenate([[0.0], np.cumsum(counted)])
    ends = np.cumsum(lengths)
    return np.where(rows.ok, running[ends] - running[ends - lengths], 0.0), np.where(rows.ok, lengths, 0).astype(float)


def _tail(limit: Limit, above: Floats, below: Floats | str, runs: Sequence[Repeat]) -> TailCount | None:
    if limit.share in (None, 1) or isinstance(below, str):
        return None
    n = violations = 0
    n_eff = 0.0
    for run in runs:
        kept, counted = above[run.order], below[run.order]
        kept, counted = kept[counted > 0], counted[counted > 0]
        n += int(counted.sum())
        violations += int(counted.sum() - kept.sum())
        n_eff += effective_size(1 - kept / counted)  # the gaps of a request count as one: they share its batch
    return TailCount(n, violations, n_eff)
