"""Decisions that hang on a hair, and every warning that needs more than one level: what judged points must carry."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchsuite.analysis.intervals import DRAWS, ONE_RUN, none
from benchsuite.analysis.slo_test import SloResampling
from benchsuite.analysis.warnings import ClientVerdict, check_levels
from benchsuite.economics.cost import HourPrice, cost_intervals, hour_at, point_cost
from benchsuite.economics.verdict import MET, check_limits, repeats_to_decide
from benchsuite.level import Level
from benchsuite.results import (
    Decision,
    Effort,
    EvaluatedLevel,
    LimitCheck,
    NoFeasiblePoint,
    Optimum,
    PointSummary,
)
from benchsuite.slo import Slo
from benchsuite.spec import PriceSpec
from benchsuite.warning_table import Finding, warn

SURE = 0.8  # P_opt of the cheapest, below which a lower level at nearly the same cost is the better advice
NEARLY = 1.05
_SEED = 20260102


@dataclass(frozen=True, slots=True)
class DecisionUncertainty:
    """By concurrency level, as far as levels have several runs.

    p_met: share of draws that keep every limit that the SLO has. p_by_level: share of draws in which the rule picks the
    level; what is missing from 1 are draws in which no level meets the SLO. None where a level has one run; method says
    so. levels: what the verdicts rest on; clients: what is known of the client. search: of a search P(met) and P(good)
    of its levels, and answer: the one that it names.
    """

    p_met: dict[Level, float] = field(default_factory=dict)
    p_by_level: dict[Level, float] | None = None
    method: str = ONE_RUN
    levels: dict[Level, SloResampling] = field(default_factory=dict)
    clients: Mapping[Level, ClientVerdict] = field(default_factory=dict)
    search: Mapping[Level, tuple[float, float]] = field(default_factory=dict)
    answer: Level | None = None


NOT_RESAMPLED = DecisionUncertainty()
Draws = tuple[Level, NDArray[np.bool_], NDArray[np.float64]]


def chances(
    levels: Sequence[SloResampling],
    *,
    free: bool = False,
    hourly: Mapping[Level, float] | None = None,
    clients: Mapping[Level, ClientVerdict] | None = None,
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
    p_met, feasible, wall = {}, [], []
    for level, kept, duration_s in drawn:
        p_met[level] = float(kept.mean())
        feasible.append(kept)
        usd_per_s = 1.0 if hourly is None else hourly[level]
        if level.rate_per_s is not None:  # the window's for each request that was due
            wall.append(duration_s * (usd_per_s or 1.0) / level.rate_per_s)
        else:
            wall.append(np.zeros(draws) if free else duration_s * usd_per_s)
    single = [sums.level for sums in levels if len(sums.runs) < 2]
    p_by_level, method = None, ONE_RUN
    if 0 < len(single) < len(levels):
        method = f"{ONE_RUN} at {', '.join(map(str, single))}"
    if levels and not single:
        # the rule on every draw: the cheapest feasible level, the lower of two that cost the same, as levels ascend
        least = p_least(np.where(np.array(feasible), np.array(wall), np.inf))
        p_by_level = dict(zip((sums.level for sums in levels), least, strict=True))
        method = f"joint block bootstrap, {draws} draws over {runs_text(levels)} runs a level"
    return DecisionUncertainty(p_met, p_by_level, method, {sums.level: sums for sums in levels}, clients or {})


def p_least(expense: NDArray[np.float64]) -> list[float]:
    """How often each row is the least; expense: (rows, draws), inf where a row cannot be chosen. Equals: the first."""
    least, decided = expense.argmin(axis=0), np.isfinite(expense).any(axis=0)
    return [float(np.mean(decided & (least == i))) for i in range(len(expense))]


def runs_text(levels: Iterable[SloResampling]) -> str:
    """'3', '3 to 5': the runs of a level."""
    counts = sorted({len(sums.runs) for sums in levels})
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def resample(levels: Sequence[SloResampling], *, draws: int = DRAWS, seed: int = _SEED) -> list[Draws]:
    """The draws of every level that has several runs: whether it meets the SLO, and the seconds of one run; draw i of
    all levels belongs together.

    levels: of one server, ascending, with the same limits.
    """
    rng = np.random.default_rng(seed)

    def picks(n: int) -> NDArray[np.int64]:
        return rng.integers(0, max(n, 1), (draws, n))

    def stretch(n: int) -> NDArray[np.float64]:
        # makes a normal draw one of Student's t: few runs are like each other more often than all runs would be
        return np.sqrt(max(n - 1, 1) / rng.chisquare(max(n - 1, 1), draws))

    common = len({sums.repeats for sums in levels}) == 1
    same = (picks(len(levels[0].runs)), stretch(len(levels[0].runs))) if levels and common else None
    found = []
    for sums in levels:
        n = len(sums.runs)
        if n < 2:
            continue
        total = sums.draw(same[0] if same else picks(n), rng)
        total = sums.stretched(total, same[1] if same else stretch(n))
        found.append((sums.level, sums.feasible(total), total[:, 0] / n))
    return found


def judge_points(
    points: Sequence[PointSummary], slo: Slo, usd_per_hour_total: HourPrice, found: DecisionUncertainty = NOT_RESAMPLED
) -> list[EvaluatedLevel]:
    """Every point judged by every limit, with its cost at the price of the whole machine (one, or its level's).

    found: from the runs, where there are runs. A points table without an error rate is taken at its word.
    """
    judged = []
    for point in points:
        level, cost = point.level, point_cost(point, hour_at(usd_per_hour_total, point.level))
        intervals = point.intervals
        if not intervals:  # a level of a table: what it tells, without intervals
            told = {"duration_s": point.duration_s, "ttft_mean_s": point.ttft_s.mean, **point.ratios}
            intervals = {name: none(value, 1, ONE_RUN) for name, value in told.items() if value is not None}
        by_search = found.search[level][0] if level in found.search else None
        limits = check_limits(point, slo, found.levels.get(level), found.clients.get(level), by_search)
        intervals = intervals | cost_intervals(cost, intervals)
        judged.append(EvaluatedLevel(point, cost, limits, found.p_met.get(level), intervals))
    return judged


def judge_levels(
    points: Sequence[PointSummary], slo: Slo, usd_per_hour_total: HourPrice, found: DecisionUncertainty = NOT_RESAMPLED
) -> list[EvaluatedLevel]:
    """The levels of ONE model judged, each with the warnings that follow from the other levels and from the decision.

    Those from other levels can disturb a verdict, so they come first; those from the decision disturb none.
    Warnings that a point has already stay in front, once.
    """
    judged = judge_points(_warned(points, check_levels(points)), slo, usd_per_hour_total, found)
    warned = _warned([j.point for j in judged], fragile_optimum(judged, decide(judged, found)))
    return [dataclasses.replace(j, point=point) for j, point in zip(judged, warned, strict=True)]


def _warned(points: Sequence[PointSummary], findings: Sequence[Finding]) -> list[PointSummary]:
    return [
        dataclasses.replace(
            p, warnings=tuple(dict.fromkeys((*p.warnings, *(one for one in findings if one.level == p.level))))
        )
        for p in points
    ]


def decide(judged: Sequence[EvaluatedLevel], found: DecisionUncertainty = NOT_RESAMPLED) -> Decision:
    """The cheapest level of one model (and one machine) that is seen to meet the SLO, the lower if two cost the same.

    Without a price the shortest run is the cheapest. A level that is proven to miss, or has an unknown figure, is not
    chosen; one that is undecided is where every figure is within its limit, and the decision carries the doubt. With no
    such level: the one that misses by least, relative to its limits. found: how often the same rule picks each level
    when the runs are resampled; or the answer of a search, which goes before.
    """
    model = judged[0].point.model if judged else None
    feasible = sorted((j for j in judged if j.is_candidate and expense(j) is not None), key=_order)
    if not feasible:
        return _none(model, judged, found)
    choice = feasible[0]
    p_cheapest = None if found.p_by_level is None else found.p_by_level.get(choice.point.level, 0.0)
    near = [j for j in feasible if (expense(j) or 0.0) <= (expense(choice) or 0.0) * NEARLY]
    safe = [j for j in near if j.slo_verdict == "met"] or [j for j in near if (j.p_met or 0.0) >= MET]
    recommended, cheapest_is_sure = choice, p_cheapest is None or p_cheapest >= SURE
    if (answer := next((j for j in feasible if j.point.level == found.answer), None)) is not None:
        recommended = choice = answer
    elif not cheapest_is_sure or choice.slo_verdict != "met":
        recommended = min(safe or ([choice] if cheapest_is_sure else near), key=lambda j: j.point.level)
    proven = [j for j in feasible if j.slo_verdict == "met"]
    binding, reason = _reason(recommended, choice, judged)
    p_good = None if answer is None else found.search[answer.point.level][1]
    if p_good is not None:
        by_search = f"{choice.point.level.label} is the answer of the search, good with P = {p_good:.2f}"
        reason = "; ".join([by_search, *reason.split("; ")[1:]])
    return Optimum(
        model=model,
        choice=choice,
        runner_up=next((j for j in feasible if j is not recommended), None),
        binding=binding,
        reason=reason,
        recommended=recommended,
        proven=proven[0] if proven else None,
        effort=effort(recommended, judged),
        p_good=p_good,
        p_opt=None if found.p_by_level is None else found.p_by_level.get(recommended.point.level, 0.0),
        p_by_level=found.p_by_level or {},
        p_method=found.method,
    )


ENOUGH_REPEATS = 3  # with which there are intervals and probabilities


def effort(level: EvaluatedLevel, judged: Sequence[EvaluatedLevel]) -> Effort | None:
    """What would decide whether `level` meets the SLO; where that is decided in one run, what gives all levels their
    intervals. None where nothing is open, or no sensible number of runs would settle it."""
    if level.point.probed or level.slo_verdict == "unknown":  # a search goes on as it sees fit; runs tell no more
        return None
    have, checks = level.point.repeat_count, level.checks("undecided")
    if checks:
        repeats, levels = repeats_to_decide(checks), [level]
    elif any(j.point.repeat_count < 2 for j in judged):
        repeats, levels = ENOUGH_REPEATS, list(judged)
    else:
        return None
    if repeats is None:
        return None
    repeats = max(repeats, have + 1)
    more_s = [
        None if j.point.duration_s is None else j.point.duration_s * max(repeats - j.point.repeat_count, 0)
        for j in levels
    ]
    seconds = None if None in more_s else sum(s for s in more_s if s is not None)
    hourly = level.cost.usd_per_hour
    return Effort(
        levels=tuple(j.point.level for j in levels),
        repeats=repeats,
        more=repeats - have,
        requests=max((check.requests for check in checks if check.requests is not None), default=None),
        minutes=None if seconds is None else seconds / 60,
        usd=None if seconds is None or hourly is None else seconds / 3600 * hourly,
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
    def of_rates(self) -> bool:
        """Its levels are rates: an open loop."""
        return any(j.point.level.rate_per_s is not None for j in self.judged)

    @property
    def usd_per_hour_total(self) -> float | None:
        """The whole machine's hour as one number."""
        return None if self.usd_per_hour is None else self.usd_per_hour * self.gpus

    @property
    def best(self) -> EvaluatedLevel | None:
        """The cheapest level that meets the SLO."""
        return self.decision.recommended if self.decision.kind == "optimum" else None

    @property
    def nearest(self) -> EvaluatedLevel | None:
        """The level that stands for all: the cheapest that meets the SLO, else the one that misses by least."""
        return self.decision.recommended if self.decision.kind == "optimum" else self.decision.nearest


def expense(j: EvaluatedLevel) -> float | None:
    """What is to be least: the cost, or the duration where no price is known or the hour is free. Of a rate, whose
    window lasts as long at every rate, that of each request which was due: the highest rate is the cheapest. Of probes
    that of an output token."""
    of_run = j.cost.cost_usd or j.point.duration_s
    if j.point.probed and of_run is not None:
        tokens = j.point.products[1]
        return of_run * j.point.repeat_count / tokens if tokens else None
    return None if of_run is None else of_run / (j.point.level.rate_per_s or 1.0)


def _order(j: EvaluatedLevel) -> tuple[float, Level]:
    own = expense(j)
    return (float("inf") if own is None else own), j.point.level


def costs_less(one: EvaluatedLevel, other: EvaluatedLevel) -> bool:
    """By dollars, or by duration where no price is known; a level whose cost is not known does not."""
    return _order(one)[0] < _order(other)[0]


def stopped_level(choice: EvaluatedLevel, judged: Sequence[EvaluatedLevel]) -> EvaluatedLevel | None:
    """The level that the SLO keeps from being chosen: one that would cost less, else the next one up; None if neither.

    Of several that would cost less, those above `choice` first, the nearest first.
    """
    level = choice.point.level
    cheaper = [j for j in judged if not j.is_candidate and costs_less(j, choice)]
    if cheaper:
        return min(cheaper, key=lambda j: (j.point.level < level, abs(j.point.level.number - level.number)))
    above = min((j for j in judged if j.point.level > level), key=lambda j: j.point.level, default=None)
    return above if above is not None and not above.is_candidate else None


def _reason(named: EvaluatedLevel, choice: EvaluatedLevel, judged: Sequence[EvaluatedLevel]) -> tuple[str, str]:
    """The limit that stops a cheaper level, and in words why `named` is the one. choice: what looks cheapest."""
    level, stopped = named.point.level.label, stopped_level(named, judged)
    proven = "that meet the SLO" if named.slo_verdict == "met" else "that appear to meet the SLO, which is undecided"
    said = [f"{level} is the cheapest of the levels {proven}"]
    if named is not choice:
        said = [f"{choice.point.level.label} looks cheaper, by at most 5 %, but this is not certain"]
        said.insert(0, f"{level} is the most certain of the cheapest levels {proven}")
    if stopped is not None:
        checks = stopped.checks("not met") or stopped.checks("undecided")
        missed = [check for check in checks if not check.within]
        binding = str(max(missed, key=_miss).limit) if missed else "; ".join(stopped.doubts or stopped.misses)
        how = "would be cheaper" if costs_less(stopped, named) else "is the next level"
        said.append(f"{stopped.point.level.label} {how} but: {', '.join(stopped.misses or stopped.doubts)}")
    else:
        binding = "no limit: every other level measured costs more"
        if named is not choice:
            binding = f"no limit: {choice.point.level.label} looks cheaper, but this is not certain"
        elif named.point.level == max(j.point.level for j in judged):
            binding = "no limit: the highest level measured is feasible; measure higher"
        said += [binding] * (named is choice)
    doubtful = [j for j in judged if j.slo_verdict == "unknown"]
    said += [f"{j.point.level.label} is not proven feasible: {', '.join(j.doubts)}" for j in doubtful]
    return binding, "; ".join(dict.fromkeys(said))


def _miss(check: LimitCheck) -> float:
    return 0.0 if check.value is None else check.limit.miss(check.value)


def _none(model: str | None, judged: Sequence[EvaluatedLevel], found: DecisionUncertainty) -> NoFeasiblePoint:
    if not judged:
        return NoFeasiblePoint(model=model, nearest=None, reason="no level was measured")

    def distance(j: EvaluatedLevel) -> tuple[bool, float, int, tuple[float, Level]]:
        return j.point.saturated, max(map(_miss, j.limits), default=0.0), len(j.checks("unknown")), _order(j)

    nearest = min(judged, key=distance)
    doubts = (*nearest.misses, *nearest.doubts) or ("it has no duration",)
    decided = all(j.slo_verdict == "not met" for j in judged)
    none_meets = "no level meets the SLO" if decided else "no level appears to meet the SLO, which is not proven"
    return NoFeasiblePoint(
        model=model,
        nearest=nearest,
        reason=f"{none_meets}; the nearest is {nearest.point.level.label}: {', '.join(doubts)}",
        verdict="not met" if decided else "undecided",
        effort=None if decided else effort(nearest, judged),
        p_by_level=found.p_by_level or {},
        p_method=found.method,
    )


MARGIN = 0.01
_NO_HAIR = (
    "search",
    "items",
)  # verdicts that say themselves how close it is, which repeats do not settle


def fragile_optimum(judged: Sequence[EvaluatedLevel], decision: Decision) -> list[Finding]:
    """The optimum if it keeps a limit by less than 1 %, and levels that would be it but miss by less than 1 %."""
    found = []
    if decision.kind == "optimum":
        named = decision.recommended
        for check in named.limits:
            if check.asked and check.within and check.why not in _NO_HAIR and (margin := _margin(check)) < MARGIN:
                values = {"limit": str(check.limit), "margin": margin, "value": check.limit.show(check.value or 0.0)}
                found.append(warn("fragile_optimum", named.point.level, **values))
        rivals = [
            j for j in judged if not j.is_candidate and (ratio := _relative_cost(j, named)) is not None and ratio < 1
        ]
    else:
        rivals = [] if decision.nearest is None else [decision.nearest]
    for rival in rivals:
        missed = [check for check in rival.limits if not check.within and (check.asked or check.verdict == "not met")]
        # a miss beyond the SLO's own limits (too many errors) is no hair
        if not missed or any(
            not c.asked or c.value is None or c.why in _NO_HAIR or _margin(c) >= MARGIN for c in missed
        ):
            continue
        texts = " and ".join(
            f"{c.limit} by {_margin(c):.2%}: {c.limit.show(c.value or 0.0)}{' in the steady window' * c.steady}"
            for c in missed
        )
        otherwise = "meet the SLO"
        if decision.kind == "optimum":
            saved = 1 - (_relative_cost(rival, decision.recommended) or 1.0)
            otherwise = f"cost {saved:.0%} less than {decision.recommended.point.level.at}"
        found.append(warn("near_miss", rival.point.level, misses=texts, otherwise=otherwise))
    return found


def _margin(check: LimitCheck) -> float:
    """The figure's distance relative to the limit."""
    if check.value is None or check.limit.value <= 0:
        return float("inf")
    return abs(check.value - check.limit.value) / check.limit.value


def _relative_cost(one: EvaluatedLevel, other: EvaluatedLevel) -> float | None:
    """What `one` costs for each dollar of `other`, by their durations where there is no price; None if not known."""
    a, b = expense(one), expense(other)
    return None if a is None or not b else a / b
