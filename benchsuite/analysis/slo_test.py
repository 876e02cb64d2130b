"""Resampling of a level against an SLO: sums of blocks of its requests, for every limit. Pure.

Every figure that a limit speaks of is a ratio of two sums over requests, so that a resampled run is a sum of blocks. A
request's part of the wall time is its share of the time in flight: T = sum(W') / (occupancy N), exactly. A percentile
keeps its limit when enough requests do, so it is a share of requests.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchsuite.analysis.autocorrelation import effective_size
from benchsuite.analysis.intervals import BlockSums, block_for, block_sums, in_segments, segment_rows
from benchsuite.analysis.requests import Bools, Floats, LevelRows, Repeat, Rows, by_repeat, describe
from benchsuite.analysis.steady_state import SteadyRun, steady_runs
from benchsuite.level import Level
from benchsuite.metrics import ALPHA, METRICS
from benchsuite.slo import Limit, Slo

CONFIDENCE = 0.99
TailVerdict = Literal["met", "not met", "undecided"]


def n_min(p: float, violations: int, confidence: float = CONFIDENCE) -> int:
    """The fewest requests with which `violations` of them beyond the limit still prove that a share p is within it.

    The smallest n with P(Binomial(n, 1 - p) <= violations) <= 1 - confidence.
    """
    n: int = math.ceil(special.bdtrin(violations, 1 - confidence, 1 - p))
    return n - 1 if n - 1 > violations and special.bdtr(violations, n - 1, 1 - p) <= 1 - confidence else n


def tail_verdict(n: int, violations: int, p: float, n_eff: float, confidence: float = CONFIDENCE) -> TailVerdict:
    """Whether a share p of all requests keeps the limit, of which `violations` of n did not.

    Met: so few violations would be as unlikely (1 - confidence) if the share were less; not met: so many, if it were
    kept. With dependent requests n_eff stands for n, and the violations are scaled with it, upwards.
    """
    m = math.floor(n_eff)
    t = min(m, math.ceil(violations * m / n - 1e-9)) if n else 0
    if m and special.bdtr(t, m, 1 - p) <= 1 - confidence:
        return "met"
    return "not met" if m and t and special.bdtrc(t - 1, m, 1 - p) <= 1 - confidence else "undecided"


_SIZES = np.unique(np.geomspace(10, 1e6, 400).astype(np.int64))


@functools.lru_cache(maxsize=4096)
def requests_to_decide(share: float, violation_ratio: float, confidence: float = CONFIDENCE) -> int | None:
    """The independent requests with which so many violations decide about `share`; None: no number up to a million."""
    if violation_ratio == 0:
        return n_min(share, 0, confidence)
    t = np.round(_SIZES * violation_ratio)
    met = special.bdtr(t, _SIZES, 1 - share) <= 1 - confidence
    not_met = (t > 0) & (special.bdtrc(t - 1, _SIZES, 1 - share) <= 1 - confidence)
    decided = np.flatnonzero(met | not_met)
    return int(_SIZES[decided[0]]) if len(decided) else None


_EACH_WAY = 1 - ALPHA


def proportion_verdict(count: int, n: int, limit: Limit) -> tuple[TailVerdict, float, float]:
    """Whether a share of requests, `count` of n, keeps its limit; and its Clopper-Pearson bounds, each one-sided.

    At 95 % 299 without a failure prove 1 %, 96 prove 3.1 %. Source: Clopper and Pearson, Biometrika 26 (1934).
    """
    low, high, met, missed = (end[0] for end in _proportions(np.array([count]), np.array([n]), limit))
    return "met" if met else "not met" if missed else "undecided", float(low), float(high)


@functools.lru_cache(maxsize=4096)
def requests_for_share(ratio: float, limit: Limit) -> int | None:
    """The requests with which `ratio` of them decides about the limit; None: no number up to a million."""
    sizes = np.union1d(_SIZES, np.arange(10, 2000))
    _, _, met, missed = _proportions(np.round(sizes * ratio), sizes, limit)
    decided = np.flatnonzero(met | missed)
    return int(sizes[decided[0]]) if len(decided) else None


def _proportions(count: NDArray[Any], n: NDArray[Any], limit: Limit) -> tuple[Floats, Floats, Bools, Bools]:
    """(n,) both bounds; whether the limit is kept at the worse of them, and whether it is missed at the better."""
    # scipy's binomtest(count, n).proportion_ci(0.90) is the same, a thousand times slower
    low = np.where(count > 0, special.betaincinv(np.maximum(count, 1), n - count + 1, 1 - _EACH_WAY), 0.0)
    high = np.where(count < n, special.betaincinv(count + 1, np.maximum(n - count, 1), _EACH_WAY), 1.0)
    worst, best = (high, low) if limit.is_upper else (low, high)
    return low, high, limit.holds(worst), ~limit.holds(best)


_LOG_CAP = 50.0  # e^50 is beyond any limit


@dataclass(frozen=True, slots=True)
class TailCount:
    """Requests (or gaps) that a percentile limit speaks of, over all runs; those beyond it; the independent ones."""

    n: int
    violations: int
    n_eff: float


@dataclass(frozen=True, slots=True)
class RunFigures:
    """(runs,) what a limit speaks of in each run, NaN where not known; value: of all runs together.

    steady: they are of the steady window, as ramp-up and drain bias the whole runs. unramped: of a run too short to
    have a steady window, what it may have been without ramp-up and drain at best.
    """

    runs: Floats
    value: float | None
    steady: bool = False
    unramped: float | None = None


@dataclass(frozen=True, slots=True)
class SloResampling:
    """One level, ready to be judged and resampled.

    limits: the SLO's, n_asked of them, then its guards; barred: a guard is proven exceeded, or a rate saturated. runs:
    per repeat the block sums of wall time, then of what is above and below the line of each limit's figure. tails: by
    limit, None where the limit is not one on a share of requests, as percentiles and attainment are. figures: by
    limit. scores: draws of the score of the level's answers, None where it is not known.
    """

    level: Level
    limits: tuple[Limit, ...]
    n_asked: int
    barred: bool
    repeats: tuple[int, ...]
    runs: tuple[BlockSums, ...]
    tails: tuple[TailCount | None, ...]
    figures: tuple[RunFigures, ...]
    scores: Floats | None = None

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
        logs = np.clip(np.log(np.where(fixed, 1.0, ratio)) * factor[:, None], -_LOG_CAP, _LOG_CAP)
        wider: Floats = np.where(fixed, total, measured * np.exp(logs))
        return wider

    def feasible(self, total: Floats) -> Bools:
        """(draws,): whether every limit of the SLO holds in a draw; none where a guard is proven exceeded.

        A figure without a value keeps nothing.
        """
        kept: Bools = np.full(len(total), not self.barred)
        for i, limit in enumerate(self.limits[: self.n_asked]):
            if limit.statistic.metric.of_answers:
                kept &= self.scores is not None and limit.holds(np.resize(self.scores, len(total)))
                continue
            above, below = total[:, 1 + 2 * i], total[:, 2 + 2 * i]
            if limit.share is None:
                kept &= (below > 0) & limit.holds(above / np.where(below > 0, below, 1.0))
            else:
                kept &= (below > 0) & (above >= limit.share * below * (1 - 1e-12))
        return kept


def slo_resampling(measured: LevelRows, slo: Slo) -> SloResampling:
    """The sums needed to judge one level. Blocks have the length that TTFT, TPOT or duration need, the longest."""
    limits = slo.effective
    windows = steady_runs(measured)
    figures = [_figures(measured, limit, windows) for limit in limits]
    durations_s = np.nan_to_num(measured.rows.closed_s - measured.rows.sent_s)
    users = measured.level.concurrency
    columns, blocks, tails = list[list[Floats]](), list[int](), list[TailCount | None]()
    for run in measured.repeats:
        mine = durations_s[run.order]
        share = mine / mine.sum() if mine.sum() > 0 and users is not None else np.full(len(mine), 1 / len(mine))
        columns.append([in_segments(share * run.duration_s)])
        each = (measured.each["ttft_s"][run.order], measured.each["tpot_s"][run.order], mine)
        known = [values[~np.isnan(values)] for values in each]
        block = max(block_for(values, measured.at_once) for values in known if len(values))
        blocks.append(math.ceil(block / segment_rows(len(mine))))
    for limit, figure in zip(limits, figures, strict=True):  # of many requests no more than the sums of one is held
        above, below = _steadied(measured, *_columns(measured, limit), figure, windows)
        tails.append(_tail(limit, above, below, measured.repeats))
        for run, sums in zip(measured.repeats, columns, strict=True):
            own = {"duration_s": sums[0], "user_s": sums[0] * (users or 0)}
            of_run = own[below] if isinstance(below, str) else in_segments(below[run.order])
            sums += [in_segments(above[run.order]), of_run]
    guards, n = limits[len(slo.limits) :], len(measured.rows.ok)
    counts = [int(measured.total(guard.statistic.metric.ratio[0][0]) or 0) for guard in guards]  # type: ignore[index]
    return SloResampling(
        level=measured.level,
        limits=limits,
        n_asked=len(slo.limits),
        barred=measured.saturated
        or any(
            proportion_verdict(count, n, guard)[0] == "not met" for count, guard in zip(counts, guards, strict=True)
        ),
        repeats=tuple(run.repeat for run in measured.repeats),
        runs=tuple(block_sums(np.column_stack(sums), block) for sums, block in zip(columns, blocks, strict=True)),
        tails=tuple(tails),
        figures=tuple(figures),
    )


BIASED = 0.02  # a difference between the whole runs and their steady windows that is more than noise
_PROMPT = ("ttft_s", "ttfa_s")  # what the burst at the start of a run makes longer


def _figures(measured: LevelRows, limit: Limit, windows: Sequence[SteadyRun | None]) -> RunFigures:
    """The figure of each run: of its steady window where ramp-up and drain move that of the whole run.

    Users that have not begun or have ended make rates lower, and prompts that all come at once make TTFT longer.
    """
    one = limit.statistic
    if one.metric.of_answers:
        return RunFigures(np.empty(0), None)
    whole = by_repeat(measured, one)
    pooled = measured.ratio(one.metric) if one.stat is None else measured.distribution(one.metric).stat(one.stat)
    found = RunFigures(whole, pooled)
    rate = (
        one.metric.ratio is not None and one.metric.ratio[1] in ("duration_s", "user_s") and one.metric.unit != "ratio"
    )
    if measured.windowed or not (rate or one.metric.key in _PROMPT):
        return found
    if not len(whole) or not np.isfinite(whole).all():
        return found
    known = [window for window in windows if window is not None and window.rate_factor]
    if rate:
        if len(known) == len(windows):
            factors = np.array([window.rate_factor for window in known])
            value = None if pooled is None else pooled * float(factors.mean())
            biased = abs(math.log(float(factors.mean()))) > BIASED
            return RunFigures(whole * factors, value, steady=True) if biased else found
        occupancy = measured.ratio(METRICS["occupancy"])
        return replace(found, unramped=pooled / occupancy if pooled is not None and occupancy else None)
    values = measured.each[one.metric.key]
    if len(known) < len(windows):  # without the burst of first requests
        later = np.concatenate([run.order[measured.at_once :] for run in measured.repeats])
        return replace(found, unramped=describe(values[later]).stat(one.stat or "mean"))
    inside = [window.inside[~np.isnan(values[window.inside])] for window in known]
    if any(len(places) == 0 for places in inside):
        return found
    means = float(np.nanmean(values)), float(values[np.concatenate(inside)].mean())
    if min(means) <= 0 or abs(math.log(means[0] / means[1])) <= BIASED:
        return found
    of_runs = [describe(values[places]).stat(one.stat or "mean") for places in inside]
    return RunFigures(
        np.array(of_runs, dtype=np.float64),
        describe(values[np.concatenate(inside)]).stat(one.stat or "mean"),
        steady=True,
    )


def _steadied(
    measured: LevelRows, above: Floats, below: Floats | str, figures: RunFigures, windows: Sequence[SteadyRun | None]
) -> tuple[Floats, Floats | str]:
    """The sums of a limit whose figure is of the steady windows: rates scaled, TTFT of the requests inside alone."""
    if not figures.steady:
        return above, below
    factor = np.zeros(len(measured.rows.ok))
    for run, window in zip(measured.repeats, windows, strict=True):
        assert window is not None
        if isinstance(below, str):
            factor[run.order] = window.rate_factor
        else:
            factor[window.inside] = 1.0
    return above * factor, below if isinstance(below, str) else below * factor


def _columns(measured: LevelRows, limit: Limit) -> tuple[Floats, Floats | str]:
    """Per request: what is summed above and below the line; below as text: what a run has, not a request."""
    metric, n = limit.statistic.metric, len(measured.rows.ok)
    if metric.of_answers:
        return np.zeros(n), np.zeros(n)
    if metric.ratio is not None:
        above, below = metric.ratio
        if any(name not in measured.sums for name in above):  # no request tells: nothing keeps the limit
            return np.zeros(n), np.zeros(n)
        total = sum((np.nan_to_num(measured.sums[name]) for name in above), start=np.zeros(n))
        return total, np.nan_to_num(measured.sums[below]) if below in measured.sums else below
    if metric.each == "chunks":
        return _gaps(measured.rows, limit)
    values = measured.each[metric.key]
    known = ~np.isnan(values)
    if limit.share is None:
        return np.nan_to_num(values), known.astype(np.float64)
    return (known & limit.holds(np.nan_to_num(values))).astype(np.float64), known.astype(np.float64)


def _gaps(rows: Rows, limit: Limit) -> tuple[Floats, Floats]:
    """The same for the gaps between chunks, which a request has many of."""
    above, below = np.zeros(len(rows.ok)), np.zeros(len(rows.ok))
    at = np.flatnonzero(rows.ok)
    for gaps_us, lengths in rows.gaps(rows.ok):
        (mine, at), gaps_s = np.split(at, [len(lengths)]), gaps_us * 1e-6
        running = np.concatenate([[0.0], np.cumsum(gaps_s if limit.share is None else limit.holds(gaps_s))])
        ends = np.cumsum(lengths)
        above[mine], below[mine] = running[ends] - running[ends - lengths], lengths
    return above, below


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
