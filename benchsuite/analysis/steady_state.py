"""The steady window of a closed loop: every virtual user busy, no prefill burst before it, no drain tail after it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchsuite.analysis.autocorrelation import effective_size
from benchsuite.analysis.requests import Floats, LevelRows, Repeat, arrived_tokens, describe, overlap_s
from benchsuite.results import SteadyWindow
from benchsuite.warning_table import Finding, warn

MIN_VALUES = 100  # below, neither question has an answer
_BATCH = 5


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the values moved. change_ratio: the rise from start to end, or half to half, relative to the mean."""

    change_ratio: float
    p_value: float


def mser5(values: Floats) -> tuple[int, bool] | None:
    """Where the warming up ends: the cut that makes the mean of the rest most certain, in steps of five values; and
    whether that is the steady part, not the latest cut that is allowed.

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
    return best * _BATCH, best < m // 2


def drift(values: Floats) -> Drift | None:
    """The slope of `values` over their order, tested with n_eff in place of n.

    values: (n,) in time order, no NaN; None for fewer than 100, or where they do not vary or have mean 0.
    """
    if (noise := _noise(values, 3.0)) is None:
        return None
    n, (squares, n_eff) = len(values), noise
    at = np.arange(n) - (n - 1) / 2
    width = float(np.dot(at, at))
    slope = float(np.dot(at, values)) / width
    error = math.sqrt(squares / (n_eff - 2) / (width * n_eff / n))
    return Drift(slope * (n - 1) / float(values.mean()), _p_value(slope, error, n_eff))


def step(values: Floats) -> Drift | None:
    """The second half's mean against the first's, tested with the n_eff of what varies about a line in each.

    values: (n,) in time order, no NaN; None as for `drift`.
    """
    if (noise := _noise(values, 4.0)) is None:
        return None
    n, (squares, n_eff) = len(values), noise
    rise = float(values[n // 2 :].mean() - values[: n // 2].mean())
    error = 2 * math.sqrt(squares / n / (n_eff - 2))
    return Drift(rise / float(values.mean()), _p_value(rise, error, n_eff))


def _noise(values: Floats, least: float) -> tuple[float, float] | None:
    """What varies about a line in each half, of which a slope, a step or a bend is no part: its squares, its n_eff."""
    if len(values) < MIN_VALUES or values.mean() == 0 or np.ptp(values) == 0:
        return None
    half = len(values) // 2
    within = np.concatenate([_detrended(values[:half]), _detrended(values[half:])])
    return float(np.dot(within, within)), max(effective_size(within), least)


def _p_value(rise: float, error: float, n_eff: float) -> float:
    return 0.0 if error == 0 else 2 * float(special.stdtr(n_eff - 2, -abs(rise) / error))


def _detrended(values: Floats) -> Floats:
    at = np.arange(len(values)) - (len(values) - 1) / 2
    line: Floats = values.mean() + at * (np.dot(at, values) / np.dot(at, at))
    return values - line


# A sweep asks this of dozens of series, so one in a hundred would be an alarm a sweep.
SURE = 0.001
HALF_SURE = 0.01  # beside a cut that is the latest possible, which noise alone gives 4 % of runs of 100 values
LEAST_CHANGE = 0.10


def check_settling(measured: LevelRows) -> Iterator[Finding]:
    """`no_steady_state` and `drift`, of TTFT and TPOT in order of completion, while there were prompts left to send.

    Not of a rate, whose arrivals may rise and fall by themselves; that it is saturated is found on its own. Nor of a
    search's probe, which is as short as it may be: between probes of a level lies what a longer one would have shown.
    """
    if measured.windowed:
        return
    unsettled, drifted, runs = [], [], measured.repeats
    for name in ("TTFT", "TPOT"):
        values = measured.each[f"{name.lower()}_s"]
        changes = []
        for run in runs:  # by when the request closed; those that closed on an emptying machine are left out
            closed_s, mine = measured.rows.closed_s[run.order], values[run.order]
            fits = (closed_s <= np.nanmax(measured.rows.sent_s[run.order])) & ~np.isnan(mine)
            if fits.any():
                changes.append(_change(mine[fits][np.argsort(closed_s[fits], kind="stable")]))
        unsettled += [name] * any(change is None for change in changes)
        moved = [change for change in changes if change]
        if moved:
            drifted.append(f"{name} by {max(moved, key=abs):+.0%} in {len(moved)} of {len(runs)} runs")
    if unsettled:
        yield warn("no_steady_state", measured.level, metrics=" and ".join(unsettled))
    if drifted:
        yield warn("drift", measured.level, changes=", ".join(drifted))


def _change(values: Floats) -> float | None:
    """How far the values drift after their cut, 0 if that is little or may be noise; None: they never settled."""
    cut, halves = mser5(values), step(values)
    if cut is None or halves is None:
        return 0.0
    index, steady = cut
    if not steady and halves.p_value < HALF_SURE and abs(halves.change_ratio) > LEAST_CHANGE:
        return None
    after = drift(values[index:])
    if after is None or after.p_value >= SURE or abs(after.change_ratio) <= LEAST_CHANGE:
        return 0.0
    return after.change_ratio


def steady_window(measured: LevelRows) -> SteadyWindow | None:
    """From the N-th completion to the last send of each repeat, pooled over repeats; None if no repeat has one.

    None of a rate or a probe, whose figures are all of its window.
    """
    rows = measured.rows
    if measured.windowed:
        return None
    pairs = [(run, one) for run, one in zip(measured.repeats, steady_runs(measured), strict=True) if one is not None]
    if not pairs:
        return None
    duration_s, tokens = sum(one.end_s - one.start_s for _, one in pairs), sum(one.tokens for _, one in pairs)
    busy_s = sum(overlap_s(rows.sent_s[run.order], rows.closed_s[run.order], one.start_s, one.end_s)
                 for run, one in pairs)  # fmt: skip
    lengths = rows.output_tokens[rows.ok & ~np.isnan(rows.output_tokens)]
    total = float(lengths.sum())
    return SteadyWindow(
        duration_s=duration_s,
        output_tok_s=tokens / duration_s if len(lengths) else None,
        # tokens over the mean length, not finished requests: long ones that the window cuts count for their part
        request_per_s=tokens / duration_s * len(lengths) / total if total else None,
        ttft_s=describe(measured.each["ttft_s"][np.concatenate([one.inside for _, one in pairs])]),
        occupancy=busy_s / (duration_s * measured.level.users),
    )


@dataclass(frozen=True, slots=True)
class SteadyRun:
    """The steady part of one run. inside: places of the successful requests sent in it. tokens: of output that came in
    it. rate_factor: those a second over those of the whole run; 0 where no tokens are known."""

    start_s: float
    end_s: float
    inside: NDArray[np.intp]
    tokens: float
    rate_factor: float


def steady_runs(measured: LevelRows) -> list[SteadyRun | None]:
    """By repeat; None where a run was never steady. Of a rate or a probe its window."""
    rows = measured.rows
    found: list[SteadyRun | None] = []
    for run in measured.repeats:
        bounds = window(measured, run)
        if bounds is None:
            found.append(None)
            continue
        start_s, end_s = bounds
        mine = np.zeros(len(rows.ok), dtype=np.bool_)
        mine[run.order] = rows.ok[run.order]
        inside = np.flatnonzero(mine & (rows.begin_s >= start_s) & (rows.begin_s <= end_s))
        if measured.windowed:
            found.append(SteadyRun(start_s, end_s, inside, run.arrived_tokens, 1.0 if run.arrived_tokens else 0.0))
            continue
        times_s = (rows.first_token_s, rows.last_token_s, rows.closed_s)
        of_mine, of_run = np.where(mine, rows.output_tokens, np.nan), measured.total("output_tokens", run)
        tokens = float(arrived_tokens(of_mine, *times_s, rows.gaps_at, start_s, end_s).sum())
        factor = tokens / (end_s - start_s) * run.duration_s / of_run if of_run else 0.0
        found.append(SteadyRun(start_s, end_s, inside, tokens, factor))
    return found


def window(measured: LevelRows, run: Repeat) -> tuple[float, float] | None:
    """From when to when a run was steady; None if it never was. Of a rate or a probe its window.

    A window shorter than the mean time of a request is the turn-round between two waves of them, not a steady state.
    """
    rows, places, users = measured.rows, run.order, measured.at_once
    if measured.windowed:
        return run.start_s, run.end_s
    ended_s, sent_s = rows.closed_s[places], rows.sent_s[places]
    ended_s, sent_s = np.sort(ended_s[~np.isnan(ended_s)]), sent_s[~np.isnan(sent_s)]
    if len(ended_s) < users or len(sent_s) == 0:
        return None
    start_s, end_s = float(ended_s[users - 1]), float(sent_s.max())
    took_s = rows.closed_s[places] - rows.sent_s[places]
    return (start_s, end_s) if end_s - start_s > float(np.nanmean(took_s)) else None
