"""Each limit of an SLO at a level on its own: proven kept, proven missed, or neither, and what would decide. Pure.

`chances.slo_verdict` is about all limits together and names no culprit; a gate wants one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchsuite.analysis.intervals import ALPHA
from benchsuite.analysis.regression import ONE_RUN_CV, ONE_RUN_CV_TAIL, Verdict, repeats_needed
from benchsuite.analysis.requests import Floats, by_repeat
from benchsuite.analysis.slo_test import SloResampling, n_min, tail_verdict
from benchsuite.analysis.summary import MeasuredLevel
from benchsuite.economics.decision import MET, NOT_MET, LevelDraws, measured, resample
from benchsuite.results import PointSummary
from benchsuite.slo import Limit

_BY_TAIL: dict[str, Verdict] = {"met": "pass", "not met": "fail", "undecided": "inconclusive"}


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """One limit at one level. value: as measured, None if not known. why: what the verdict rests on, in words."""

    limit: Limit
    concurrency: int
    value: float | None
    verdict: Verdict
    why: str


def check_limits(levels: Sequence[MeasuredLevel]) -> dict[int, tuple[LimitCheck, ...]]:
    """Every limit that the levels were measured for, by level. levels: of one run folder, ascending.

    Several runs: a limit on a mean or rate is kept when 95 % of the resampled runs keep it, missed when 5 % do; one on
    a share of requests by the early-stopping test. One run: only what is far from the limit. An error rate: as
    observed, and missed when so many errors are unlikely (5 %) at the limit.
    """
    draws = {one.level.concurrency: one for one in resample([level.resampling for level in levels])}
    return {
        level.concurrency: tuple(
            _check(level, draws.get(level.concurrency), i) for i in range(len(level.resampling.limits))
        )
        for level in levels
    }


def _check(level: MeasuredLevel, draws: LevelDraws | None, i: int) -> LimitCheck:
    point, sums = level.point, level.resampling
    limit = sums.limits[i]
    value = measured(point, limit)
    if value is None:
        verdict: tuple[Verdict, str] = "inconclusive", "not known"
    elif limit.metric == "error_rate":
        verdict = _errors(point, limit)
    else:
        within = _within_runs(sums, draws, i)
        each = by_repeat(level, limit.statistic)
        if draws is None:
            verdict = _one_run(limit, value, within)
        else:
            verdict = (within[0], within[1] + _missing(within[0], limit, value, each))
    return LimitCheck(limit, point.concurrency, value, *verdict)


def _errors(point: PointSummary, limit: Limit) -> tuple[Verdict, str]:
    failed = point.n_failed
    if failed is None or point.error_rate is None:
        return "inconclusive", "how many requests failed is not known"
    n = point.n_ok + failed
    if limit.holds(point.error_rate):
        return "pass", f"{failed} of {n:,} requests failed"
    p = float(stats.binom.sf(failed - 1, n, limit.value))
    return ("fail" if p <= ALPHA else "inconclusive"), f"{failed} of {n:,} requests failed"


def _within_runs(sums: SloResampling, draws: LevelDraws | None, i: int) -> tuple[Verdict, str]:
    """What the runs that were measured prove of themselves: resampled, or of a percentile by counting."""
    tail, share = sums.tails[i], sums.limits[i].share
    if tail is not None and share is not None:
        verdict = _BY_TAIL[tail_verdict(tail.n, tail.violations, share, tail.n_eff)]
        said = f"{tail.violations} of {tail.n:,} beyond the limit"
        if verdict == "inconclusive":
            wanted = n_min(share, math.ceil(tail.violations * tail.n_eff / tail.n))
            said += (
                f"; a pass needs {wanted:,} independent requests with no more beyond, these count as {tail.n_eff:,.0f}"
                if wanted > tail.n_eff
                else "; too close to the limit to tell"
            )
        return verdict, said
    if draws is None:
        return "inconclusive", ""
    p = float(np.mean(draws.kept[:, i]))
    found: Verdict = "pass" if p >= MET else "fail" if p <= NOT_MET else "inconclusive"
    return found, f"{p:.1%} of resampled runs keep it"


def _one_run(limit: Limit, value: float, within: tuple[Verdict, str]) -> tuple[Verdict, str]:
    """One run tells nothing of the next, unless the limit is further away than runs are likely to differ."""
    cv = ONE_RUN_CV if limit.share is None else ONE_RUN_CV_TAIL
    kept = bool(limit.holds(value))
    far = _distance(limit, value)
    reach = float(stats.norm.ppf(1 - ALPHA / 2)) * cv
    agreed = limit.share in (None, 1.0) or within[0] == ("pass" if kept else "fail")
    said = "; ".join(text for text in (within[1], f"one run, and runs are taken to differ by {cv:.0%}") if text)
    if far >= reach and agreed:
        return ("pass" if kept else "fail"), f"{said}: it is further than that from the limit"
    return "inconclusive", said + _repeats_said(repeats_needed(cv, far))


def _distance(limit: Limit, value: float) -> float:
    """In ln, from the limit; of a share of all requests that of those that miss."""
    if limit.statistic.metric.share and not limit.is_upper:
        value, bound = 1 - value, 1 - limit.value
    else:
        bound = limit.value
    return abs(math.log(value / bound)) if value > 0 and bound > 0 else math.inf


def _missing(verdict: Verdict, limit: Limit, value: float, each: Floats) -> str:
    """How many repeats would decide, where that can be told."""
    tail = limit.share
    if verdict != "inconclusive" or tail not in (None, 1.0) or not (np.isfinite(each).all() and (each > 0).all()):
        return ""
    if value <= 0 or limit.value <= 0 or len(each) < 2:
        return ""
    return _repeats_said(repeats_needed(float(np.log(each).std(ddof=1)), abs(math.log(value / limit.value))))


def _repeats_said(n: int | None) -> str:
    return (
        "; no number of repeats up to 100 would decide: it is at the limit"
        if n is None
        else f"; about {n} repeats would decide"
    )
