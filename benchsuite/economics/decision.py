"""Decisions that hang on a hair, and every warning that needs more than one level: what judged points must carry."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchsuite.analysis.intervals import DRAWS, ONE_RUN, none
from benchsuite.analysis.slo_test import SloResampling, tail_verdict
from benchsuite.analysis.warnings import check_levels
from benchsuite.economics.cost import HourPrice, cost_intervals, hour_at, point_cost
from benchsuite.results import (
    Decision,
    EvaluatedLevel,
    NoFeasiblePoint,
    Optimum,
    PointCost,
    PointSummary,
    SloVerdict,
)
from benchsuite.slo import MAX_ERROR_RATE, Limit, Slo
from benchsuite.spec import PriceSpec
from benchsuite.warning_table import DISTURBING, Finding, warn

MET, NOT_MET = 0.95, 0.05
SURE = 0.8  # P_opt of the cheapest, below which a lower level at nearly the same cost is the better advice
NEARLY = 1.05
_SEED = 20260102


@dataclass(frozen=True, slots=True)
class DecisionUncertainty:
    """By concurrency level, as far as levels have several runs.

    p_met: share of draws that keep every limit; p_steady: that keep the limits on means and rates. p_by_level: share
    of draws in which the rule picks the level; what is missing from 1 are draws in which no level meets the SLO. None
    where a level has one run; method says so.
    """

    p_met: dict[int, float] = field(default_factory=dict)
    p_steady: dict[int, float] = field(default_factory=dict)
    p_by_level: dict[int, float] | None = None
    method: str = ONE_RUN
    levels: dict[int, SloResampling] = field(default_factory=dict)


NOT_RESAMPLED = DecisionUncertainty()


def chances(
    levels: Sequence[SloResampling],
    *,
    free: bool = False,
    hourly: Mapping[int, float] | None = None,
    draws: int = DRAWS,
    seed: int = _SEED,
) -> DecisionUncertainty:
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
        steady = np.array([tail is None for tail in one.level.tails], dtype=np.bool_)
        p_met[one.level.concurrency] = float(one.feasible.mean())
        p_steady[one.level.concurrency] = float(one.kept[:, steady].all(axis=1).mean())
        feasible.append(one.feasible)
        usd_per_hour = 1.0 if hourly is None else hourly[one.level.concurrency]
        wall.append(np.zeros(draws) if free else one.duration_s * usd_per_hour)
    single = [level.concurrency for level in levels if len(level.runs) < 2]
    p_by_level, method = None, ONE_RUN
    if 0 < len(single) < len(levels):
        method = f"{ONE_RUN} at {', '.join(map(str, single))}"
    if levels and not single:
        # the rule on every draw: the cheapest feasible level, the lower of two that cost the same, as levels ascend
        choice = np.where(np.array(feasible), np.array(wall), np.inf).argmin(axis=0)
        decided = np.array(feasible).any(axis=0)
        p_by_level = {one.concurrency: float(np.mean(decided & (choice == i))) for i, one in enumerate(levels)}
        counts = sorted({len(level.runs) for level in levels})
        runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        method = f"joint block bootstrap, {draws} draws over {runs} runs a level"
    return DecisionUncertainty(p_met, p_steady, p_by_level, method, {level.concurrency: level for level in levels})


@dataclass(frozen=True, slots=True)
class LevelDraws:
    """A level resampled. kept: (draws, limits): whether each limit holds. duration_s: (draws,) of one run."""

    level: SloResampling
    kept: NDArray[np.bool_]
    duration_s: NDArray[np.float64]

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """(draws,): every limit holds."""
        return np.asarray(self.kept.all(axis=1), dtype=np.bool_)


def resample(levels: Sequence[SloResampling], *, draws: int = DRAWS, seed: int = _SEED) -> list[LevelDraws]:
    """The draws of every level that has several runs, as `chances` takes them; draw i of all levels belongs together.

    levels: of one server, ascending, with the same limits.
    """
    rng = np.random.default_rng(seed)

    def picks(n: int) -> NDArray[np.int64]:
        return rng.integers(0, max(n, 1), (draws, n))

    def stretch(n: int) -> NDArray[np.float64]:
        # makes a normal draw one of Student's t: few runs are like each other more often than all runs would be
        return np.sqrt(max(n - 1, 1) / rng.chisquare(max(n - 1, 1), draws))

    common = len({level.repeats for level in levels}) == 1
    same = (picks(len(levels[0].runs)), stretch(len(levels[0].runs))) if levels and common else None
    found = []
    for level in levels:
        n = len(level.runs)
        if n < 2:
            continue
        total = level.draw(same[0] if same else picks(n), rng)
        total = level.stretched(total, same[1] if same else stretch(n))
        found.append(LevelDraws(level, level.kept(total), total[:, 0] / n))
    return found


def slo_verdict(
    concurrency: int, misses: Sequence[str], unknown: Sequence[str], found: DecisionUncertainty
) -> SloVerdict:
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


def _tail_verdict(level: SloResampling, index: int) -> SloVerdict:
    tail, share = level.tails[index], level.limits[index].share
    assert tail is not None
    assert share is not None
    return tail_verdict(tail.n, tail.violations, share, tail.n_eff)


def measured(point: PointSummary, limit: Limit) -> float | None:
    """The figure of `point` that `limit` speaks of, in the limit's unit. None if it is not known."""
    return limit.statistic.of_point(point)


def judge(point: PointSummary, cost: PointCost, slo: Slo, found: DecisionUncertainty = NOT_RESAMPLED) -> EvaluatedLevel:
    """`point` held against every limit. A figure that is not known proves nothing: its limit is listed as unknown.

    Failing requests shorten a run and so make it look cheap: a point with more than 1 % of them misses, whatever the
    SLO, unless the SLO has its own error_rate limit. A points table without an error rate is taken at its word.
    found: from resampling the runs, where there are runs.
    """
    misses, unknown = [], []
    for limit in slo.effective:
        value = measured(point, limit)
        if value is not None and not limit.holds(value):
            misses.append(f"{limit} missed: {limit.show(value)}")
        elif value is None and limit is not MAX_ERROR_RATE:
            unknown.append(f"{limit} unknown")
    intervals = point.intervals
    if not intervals:  # a level of a table: what it tells, without intervals
        told = {"duration_s": point.duration_s, "ttft_mean_s": point.ttft_s.mean, **point.ratios}
        intervals = {name: none(value, 1, ONE_RUN) for name, value in told.items() if value is not None}
    verdict = slo_verdict(point.concurrency, misses, unknown, found)
    if point.disturbances and (verdict.startswith("met") or not all(DISTURBING[code] for code in point.disturbances)):
        verdict = "undecided"
    return EvaluatedLevel(
        point,
        cost,
        tuple(misses),
        tuple(unknown),
        slo_verdict=verdict,
        p_met=found.p_met.get(point.concurrency),
        intervals=intervals | cost_intervals(cost, intervals),
    )


def judge_points(
    points: Sequence[PointSummary], slo: Slo, usd_per_hour_total: HourPrice, found: DecisionUncertainty = NOT_RESAMPLED
) -> list[EvaluatedLevel]:
    """Every point with its cost at the price of the whole machine (one, or its level's), held against the SLO."""
    return [
        judge(point, point_cost(point, hour_at(usd_per_hour_total, point.concurrency)), slo, found) for point in points
    ]


def decide(judged: Sequence[EvaluatedLevel], slo: Slo, found: DecisionUncertainty = NOT_RESAMPLED) -> Decision:
    """The cheapest level of one model (and one machine) that meets the SLO, the lower level if two cost the same.

    Without a price the shortest run is the cheapest. A level whose feasibility is in doubt is not chosen, and the
    reason says so. With no feasible level: the one that misses by least, relative to its limits. found: how often the
    same rule picks each level when the runs are resampled.
    """
    model = judged[0].point.model if judged else None
    feasible = sorted((j for j in judged if j.meets_slo and _expense(j) is not None), key=_order)
    if not feasible:
        return _none(model, judged, slo, found)
    choice = feasible[0]
    binding = _binding(choice, judged, slo)
    p_opt = None if found.p_by_level is None else found.p_by_level.get(choice.point.concurrency, 0.0)
    recommended = choice
    if p_opt is not None and p_opt < SURE:  # the lowest of the levels at nearly the same cost
        near = [j for j in feasible if (_expense(j) or 0.0) <= (_expense(choice) or 0.0) * NEARLY]
        recommended = min(near, key=lambda j: j.point.concurrency)
    return Optimum(
        model=model,
        choice=choice,
        runner_up=feasible[1] if len(feasible) > 1 else None,
        binding=binding,
        reason=_reason(choice, judged, binding),
        recommended=recommended,
        p_opt=p_opt,
        p_by_level=found.p_by_level or {},
        p_method=found.method,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedLevels:
    """The levels of one model on one machine, judged: what a comparison, a capacity or a matrix is decided on.

    usd_per_hour: one GPU's, None if no price is known; where the hour holds measured power (owned GPUs) that of the
    optimum, or of the nearest level. hour_price: the whole machine's, by level where measured power or an API's bill is
    in it. price: what it was computed from. resampling: one per level, ascending; none of a table of levels. source:
    where the levels were read from. workload_hash: None where not known.
    """

    model: str
    source: str
    slo: Slo
    judged: tuple[EvaluatedLevel, ...]
    decision: Decision
    gpus: int
    usd_per_hour: float | None
    hour_price: HourPrice
    price: PriceSpec | None = None
    resampling: tuple[SloResampling, ...] = ()
    workload_hash: str | None = None

    @property
    def usd_per_hour_total(self) -> float | None:
        """The whole machine's hour as one number."""
        return None if self.usd_per_hour is None else self.usd_per_hour * self.gpus

    @property
    def best(self) -> EvaluatedLevel | None:
        """The cheapest level that meets the SLO."""
        return self.decision.choice if self.decision.kind == "optimum" else None

    @property
    def nearest(self) -> EvaluatedLevel | None:
        """The level that stands for all: the cheapest that meets the SLO, else the one that misses by least."""
        return self.decision.choice if self.decision.kind == "optimum" else self.decision.nearest


def _expense(j: EvaluatedLevel) -> float | None:
    """What is to be least: the cost, or the duration where no price is known or the hour is free."""
    return j.cost.cost_usd or j.point.duration_s


def _order(j: EvaluatedLevel) -> tuple[float, int]:
    expense = _expense(j)
    return (float("inf") if expense is None else expense), j.point.concurrency


def stopped_level(choice: EvaluatedLevel, judged: Sequence[EvaluatedLevel]) -> EvaluatedLevel | None:
    """The level that the SLO keeps from being chosen: one that would cost less, else the next one up; None if neither.

    Of several that would cost less, those above `choice` first, the nearest first.
    """
    level = choice.point.concurrency
    cheaper = [j for j in judged if not j.meets_slo and _order(j)[0] < _order(choice)[0]]
    if cheaper:
        return min(cheaper, key=lambda j: (j.point.concurrency < level, abs(j.point.concurrency - level)))
    above = min((j for j in judged if j.point.concurrency > level), key=lambda j: j.point.concurrency, default=None)
    return above if above is not None and not above.meets_slo else None


def _binding(choice: EvaluatedLevel, judged: Sequence[EvaluatedLevel], slo: Slo) -> str:
    stopped = stopped_level(choice, judged)
    if stopped is not None:
        point = stopped.point
        missed = [limit for limit in slo.effective if _miss(point, limit)]
        if missed:
            return str(max(missed, key=lambda limit: _miss(point, limit) or 0.0))
        return "; ".join(stopped.unknown)
    if choice.point.concurrency == max(j.point.concurrency for j in judged):
        return "no limit: the highest level measured is feasible; measure higher"
    return "no limit: every other level measured costs more"


def _miss(point: PointSummary, limit: Limit) -> float | None:
    value = measured(point, limit)
    return None if value is None else limit.miss(value)


def _reason(choice: EvaluatedLevel, judged: Sequence[EvaluatedLevel], binding: str) -> str:
    level = choice.point.concurrency
    said = [f"{level} is the cheapest of the levels that meet the SLO"]
    stopped = stopped_level(choice, judged)
    if stopped is not None:
        how = "would be cheaper" if _order(stopped)[0] < _order(choice)[0] else "is the next level"
        said.append(f"{stopped.point.concurrency} {how} but: {', '.join(stopped.misses or stopped.unknown)}")
    else:
        said.append(binding)
    doubtful = [j for j in judged if j.unknown and not j.misses]
    said += [f"{j.point.concurrency} is not proven feasible: {', '.join(j.unknown)}" for j in doubtful]
    return "; ".join(dict.fromkeys(said))


def _none(model: str | None, judged: Sequence[EvaluatedLevel], slo: Slo, found: DecisionUncertainty) -> NoFeasiblePoint:
    if not judged:
        return NoFeasiblePoint(model=model, nearest=None, reason="no level was measured")

    def distance(j: EvaluatedLevel) -> tuple[float, int, tuple[float, int]]:
        return max((_miss(j.point, limit) or 0.0 for limit in slo.effective), default=0.0), len(j.unknown), _order(j)

    nearest = min(judged, key=distance)
    doubts = (*nearest.misses, *nearest.unknown) or ("it has no duration",)
    return NoFeasiblePoint(
        model=model,
        nearest=nearest,
        reason=f"no level meets the SLO; the nearest is {nearest.point.concurrency}: {', '.join(doubts)}",
        p_by_level=found.p_by_level or {},
        p_method=found.method,
    )


MARGIN = 0.01


def with_level_warnings(points: Sequence[PointSummary], slo: Slo, usd_per_hour_total: HourPrice) -> list[PointSummary]:
    """The points, each with what the other levels of its model, the SLO and the decision say against it.

    Points of several models keep their order; warnings that a point has already stay in front, once.
    """
    found: dict[tuple[str | None, int], list[Finding]] = {}
    for model in dict.fromkeys(p.model for p in points):
        own = [p for p in points if p.model == model]
        judged = judge_points(own, slo, usd_per_hour_total)
        for finding in [*check_levels(own), *fragile_optimum(judged, decide(judged, slo), slo)]:
            found.setdefault((model, finding.concurrency or 0), []).append(finding)
    return [
        dataclasses.replace(p, warnings=tuple(dict.fromkeys((*p.warnings, *found.get((p.model, p.concurrency), ())))))
        for p in points
    ]


def fragile_optimum(judged: Sequence[EvaluatedLevel], decision: Decision, slo: Slo) -> list[Finding]:
    """The optimum if it keeps a limit by less than 1 %, and levels that would be it but miss by less than 1 %."""
    found = []
    if decision.kind == "optimum":
        choice = decision.choice
        for limit, value, margin in _margins(choice, slo):
            if limit.holds(value) and margin < MARGIN:
                values = {"limit": str(limit), "margin": margin, "value": limit.show(value)}
                found.append(warn("fragile_optimum", choice.point.concurrency, **values))
        rivals = [j for j in judged if j.misses and (ratio := _relative_cost(j, choice)) is not None and ratio < 1]
    else:
        rivals = [] if decision.nearest is None or not decision.nearest.misses else [decision.nearest]
    for rival in rivals:
        missed = [one for one in _margins(rival, slo) if not one[0].holds(one[1])]
        # a miss beyond the SLO's own limits (too many errors) is no hair
        if rival.unknown or len(missed) < len(rival.misses) or any(margin >= MARGIN for *_, margin in missed):
            continue
        texts = " and ".join(f"{limit} by {margin:.2%}: {limit.show(value)}" for limit, value, margin in missed)
        otherwise = "meet the SLO"
        if decision.kind == "optimum":
            saved = 1 - (_relative_cost(rival, decision.choice) or 1.0)
            otherwise = f"cost {saved:.0%} less than the optimum {decision.choice.point.concurrency}"
        found.append(warn("near_miss", rival.point.concurrency, misses=texts, otherwise=otherwise))
    return found


def _margins(judged: EvaluatedLevel, slo: Slo) -> list[tuple[Limit, float, float]]:
    """The SLO's limits whose figure is known, the figure, and its distance relative to the limit."""
    figures = [(limit, value) for limit in slo.limits if (value := measured(judged.point, limit)) is not None]
    return [(limit, value, abs(value - limit.value) / limit.value) for limit, value in figures if limit.value > 0]


def _relative_cost(one: EvaluatedLevel, other: EvaluatedLevel) -> float | None:
    """What `one` costs for each dollar of `other`, by their durations where there is no price; None if not known."""
    a, b = one.cost.cost_usd, other.cost.cost_usd
    if not a or not b:
        a, b = one.point.duration_s, other.point.duration_s
    return None if a is None or not b else a / b
