"""Warnings on runs that did not settle, or did not stay settled. Quiet below 100 values a run. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchsuite.analysis.per_request import PerRequest
from benchsuite.analysis.rows import Floats, Rows
from benchsuite.analysis.runs import OneRun
from benchsuite.analysis.stationarity import drift, mser5, step
from benchsuite.results import Warn

# A sweep asks this of dozens of series, so one in a hundred would be an alarm a sweep.
SURE = 0.001
HALF_SURE = 0.01  # beside a cut that is the latest possible, which noise alone gives 4 % of runs of 100 values
LEAST_CHANGE = 0.10


def check_settling(rows: Rows, each: PerRequest, runs: Sequence[OneRun], concurrency: int) -> tuple[Warn, ...]:
    """`no_steady_state` and `drift`, of TTFT and TPOT in order of completion, while there were prompts left to send."""
    unsettled, drifted = [], []
    for name, values in (("TTFT", each.ttft_s), ("TPOT", each.tpot_s)):
        changes = [_change(series) for run in runs if len(series := _by_completion(rows, values, run))]
        unsettled += [name] * any(change is None for change in changes)
        moved = [change for change in changes if change]
        if moved:
            drifted.append(f"{name} by {max(moved, key=abs):+.0%} in {len(moved)} of {len(runs)} runs")
    found = []
    if unsettled:
        finding = f"{' and '.join(unsettled)} never settled: the first half of a run is unlike its second"
        remedy = "warm up longer, or measure longer; the mean depends on when the run was stopped"
        found.append(Warn("no_steady_state", finding, remedy, concurrency))
    if drifted:
        remedy = "look for throttling, other work on the machine, a filling cache; then repeat the level"
        found.append(Warn("drift", f"after warming up the run drifted: {', '.join(drifted)}", remedy, concurrency))
    return tuple(found)


def _by_completion(rows: Rows, values: Floats, run: OneRun) -> Floats:
    """The values of one run by when the request closed. Those that closed on an emptying machine are left out."""
    closed_s, mine = rows.closed_s[run.order], values[run.order]
    fits = (closed_s <= np.nanmax(rows.sent_s[run.order])) & ~np.isnan(mine)
    return mine[fits][np.argsort(closed_s[fits], kind="stable")]


def _change(values: Floats) -> float | None:
    """How far the values drift after their cut, 0 if that is little or may be noise; None: they never settled."""
    cut, halves = mser5(values), step(values)
    if cut is None or halves is None:
        return 0.0
    if not cut.steady and halves.p_value < HALF_SURE and abs(halves.change_ratio) > LEAST_CHANGE:
        return None
    after = drift(values[cut.index :])
    if after is None or after.p_value >= SURE or abs(after.change_ratio) <= LEAST_CHANGE:
        return 0.0
    return after.change_ratio
