"""How sure the decision is: the runs are resampled, and the rule decides anew on every draw. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchsuite.analysis.bootstrap import DRAWS
from benchsuite.analysis.early_stopping import tail_verdict
from benchsuite.analysis.slo_sums import LevelSums, tail_share
from benchsuite.analysis.stats import ONE_RUN
from benchsuite.results import SloVerdict

MET, NOT_MET = 0.95, 0.05
SURE = 0.8  # P_opt of the cheapest, below which a lower level at nearly the same cost is the better advice
NEARLY = 1.05
_SEED = 20260102


@dataclass(frozen=True, slots=True)
class Chances:
    """By concurrency level, as far as levels have several runs.

    p_met: share of draws that keep every limit; p_steady: that keep the limits on means and rates. p_by_level: share
    of draws in which the rule picks the level; what is missing from 1 are draws in which no level meets the SLO. None
    where a level has one run; method says so.
    """

    p_met: dict[int, float] = field(default_factory=dict)
    p_steady: dict[int, float] = field(default_factory=dict)
    p_by_level: dict[int, float] | None = None
    method: str = ONE_RUN
    levels: dict[int, LevelSums] = field(default_factory=dict)


NO_CHANCES = Chances()


def chances(
    levels: Sequence[LevelSums],
    *,
    free: bool = False,
    hourly: Mapping[int, float] | None = None,
    draws: int = DRAWS,
    seed: int = _SEED,
) -> Chances:
    """Resample repeats, then blocks of requests in each; all levels take the same repeats where they share them.

    Each draw's distance from the measured figures is stretched as Student's t is wider than the normal: three runs
    alone, resampled, show too little of what a fourth may do (86 % for nominal 95 %).

    levels: ascending, with the same limits. free: the machine costs nothing, so the lowest level that meets the SLO is
    picked; otherwise the one with the shortest wall time, since all are paid by the hour. hourly: the price by level,
    where it differs: then the cheapest.
    """
    drawn = resample(levels, draws=draws, seed=seed)
    p_met, p_steady, feasible, wall = {}, {}, [], []
    for one in drawn:
        steady = np.array([not _is_tail(limit.stat) for limit in one.level.limits], dtype=np.bool_)
        p_met[one.level.concurrency] = float(one.feasible.mean())
        p_steady[one.level.concurrency] = float(one.kept[:, steady].all(axis=1).mean())
        feasible.append(one.feasible)
        usd_per_hour = 1.0 if hourly is None else hourly[one.level.concurrency]
        wall.append(np.zeros(draws) if free else one.wall_s * usd_per_hour)
    single = [level.concurrency for level in levels if len(level.runs) < 2]
    p_by_level, method = None, ONE_RUN if len(single) == len(levels) else f"{ONE_RUN} at {_list(single)}"
    if levels and not single:
        p_by_level = _picked([level.concurrency for level in levels], np.array(feasible), np.array(wall))
        counts = sorted({len(level.runs) for level in levels})
        runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        method = f"joint block bootstrap, {draws} draws over {runs} runs a level"
    return Chances(p_met, p_steady, p_by_level, method, {level.concurrency: level for level in levels})


@dataclass(frozen=True, slots=True)
class LevelDraws:
    """A level resampled. kept: (draws, limits), whether each limit holds. wall_s: (draws,) of one run of the set."""

    level: LevelSums
    kept: NDArray[np.bool_]
    wall_s: NDArray[np.float64]

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """(draws,): every limit holds."""
        return np.asarray(self.kept.all(axis=1), dtype=np.bool_)


def resample(levels: Sequence[LevelSums], *, draws: int = DRAWS, seed: int = _SEED) -> list[LevelDraws]:
    """The draws of every level that has several runs, as `chances` takes them; draw i of all levels belongs together.

    levels: of one server, ascending, with the same limits.
    """
    rng = np.random.default_rng(seed)
    common = len({level.repeats for level in levels}) == 1
    picks = _picks(levels[0], draws, rng) if levels and common else None
    stretch = _stretch(len(levels[0].runs), draws, rng) if levels and common else None
    found = []
    for level in levels:
        if len(level.runs) < 2:
            continue
        total = level.draw(_picks(level, draws, rng) if picks is None else picks, rng)
        total = level.stretched(total, _stretch(len(level.runs), draws, rng) if stretch is None else stretch)
        found.append(LevelDraws(level, level.kept(total), total[:, 0] / len(level.runs)))
    return found


def _picks(level: LevelSums, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    n = len(level.runs)
    return rng.integers(0, max(n, 1), (draws, n))


def _stretch(n_runs: int, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """What makes a normal draw one of Student's t: few runs are like each other more often than all runs would be."""
    freedom = max(n_runs - 1, 1)
    return np.sqrt(freedom / rng.chisquare(freedom, draws))


def _picked(levels: Sequence[int], feasible: NDArray[np.bool_], wall: NDArray[np.float64]) -> dict[int, float]:
    """The rule on every draw: the cheapest feasible level, the lower of two that cost the same."""
    expense = np.where(feasible, wall, np.inf)
    choice = expense.argmin(axis=0)  # levels ascend, and the first of equals is taken
    decided = feasible.any(axis=0)
    return {level: float(np.mean(decided & (choice == i))) for i, level in enumerate(levels)}


def _is_tail(stat: str | None) -> bool:
    return stat is not None and stat not in ("mean", "max")


def _list(levels: Sequence[int]) -> str:
    return ", ".join(str(level) for level in levels)


def slo_verdict(concurrency: int, misses: Sequence[str], unknown: Sequence[str], found: Chances) -> SloVerdict:
    """What the measurement proves of a level. misses, unknown: what was observed.

    Limits on means and rates are met when 95 % of draws keep them and not met when 5 % do; percentiles go by the
    early-stopping test. One run says nothing about the next: at best the SLO is met in it.
    """
    if unknown and not misses:
        return "unknown"
    level = found.levels.get(concurrency)
    tails = [] if level is None else [_tail_verdict(level, i) for i, tail in enumerate(level.tails) if tail]
    p = found.p_steady.get(concurrency)
    if p is None:
        if misses:
            return "not met in this run"
        return "met in this run" if all(tail == "met" for tail in tails) else "undecided"
    parts = ["met" if p >= MET else "not met" if p <= NOT_MET else "undecided", *tails]
    if "not met" in parts:
        return "not met"
    return "met" if all(part == "met" for part in parts) else "undecided"


def _tail_verdict(level: LevelSums, index: int) -> SloVerdict:
    tail, share = level.tails[index], tail_share(level.limits[index])
    assert tail is not None
    assert share is not None
    return tail_verdict(tail.n, tail.violations, share, tail.n_eff)
