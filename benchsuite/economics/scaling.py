"""The three principles of cost and concurrency, as tests on one model's levels: a value object for table and report.

Average cost falls with users (P1), by less and less (P2), and is near its least in a zone of levels (P3). Beside them
the scaling law, the interpolated boundary of the SLO, and what each limit costs.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchsuite.analysis.scalability import (
    Runs,
    Usl,
    crossing,
    elasticities,
    elasticity_slope,
    fit_usl,
    knee,
    users_at_limit,
)
from benchsuite.economics.cost import SECONDS_PER_HOUR, HourPrice
from benchsuite.economics.decision import decide, judge_points
from benchsuite.economics.verdict import MET
from benchsuite.level import Level
from benchsuite.results import Decision, Estimate, EvaluatedLevel, PointSummary, SloVerdict
from benchsuite.slo import GUARDS, Limit, Slo

NONE_HOLDS = "no level meets it"
ALL_HOLD = "every level at which it is known meets it"


@dataclass(frozen=True, slots=True)
class LimitUsers:
    """Up to how many users a limit holds. users: interpolated, with its interval; None: `note` says why."""

    limit: str
    users: Estimate | None
    note: str


def breakable_limits(points: Sequence[PointSummary], slo: Slo) -> tuple[Limit, ...]:
    """The SLO's limits that users break, and the guards that every decision has; of empty answers where some are."""
    own = [limit for limit in slo.limits if limit.statistic.metric.with_users is not None]
    limited, (errors, empty) = {limit.metric for limit in own}, GUARDS
    guards = [errors] * any(p.ratios["error_rate"] is not None for p in points)
    guards += [empty] * any(p.ratios["empty_rate"] for p in points)
    return (*own, *(guard for guard in guards if guard.metric not in limited))


def _curve(points: Sequence[PointSummary], limit: Limit) -> tuple[list[float], list[float]]:
    known = [(p.level.number, value) for p in points if (value := limit.statistic.of_point(p)) is not None]
    return [level for level, _ in known], [value for _, value in known]


def limit_users(points: Sequence[PointSummary], limit: Limit, repeats: Sequence[Sequence[PointSummary]]) -> LimitUsers:
    levels, values = _curve(points, limit)
    users = users_at_limit(levels, values, limit, _runs(levels, limit, repeats)) if levels else None
    missed = [f"{level:g}" for level, value in zip(levels, values, strict=True) if not limit.holds(value)]
    if users is not None:
        note = users.method
    elif not levels:
        note = "not known at any level"
    elif crossing(levels, values, limit) == 0:
        note = NONE_HOLDS
    else:
        note = f"missed at {', '.join(missed)} only, against the trend: repeat that level" if missed else ALL_HOLD
    return LimitUsers(str(limit), users, note)


def _runs(levels: Sequence[float], limit: Limit, repeats: Sequence[Sequence[PointSummary]]) -> Runs | None:
    if not repeats:
        return None
    metric = limit.statistic.metric
    per_second = metric.ratio is not None and not metric.share
    values = np.full((len(repeats), len(levels)), np.nan)
    weights = np.zeros_like(values)
    for i, own in enumerate(repeats):
        for p in own:
            value = limit.statistic.of_point(p)
            if value is not None and p.level.number in levels:
                column = levels.index(p.level.number)
                values[i, column] = value
                weights[i, column] = (p.duration_s or 0.0) if per_second else p.n_ok
    return Runs(values, weights)


def boundary_users(points: Sequence[PointSummary], limits: Sequence[Limit]) -> float | None:
    """Users at which the first of the limits breaks; None if none breaks, or one holds at no level."""
    found = [crossing(*curve, limit) for limit in limits if (curve := _curve(points, limit))[0]]
    breaks = [users for users in found if users is not None]
    return min(breaks) or None if breaks else None


def boundary_cost(
    points: Sequence[PointSummary], decision: Decision, usd_per_hour: HourPrice, users: float
) -> tuple[float | None, float | None]:
    """What the set of the optimum costs at any number of users: its tokens at the interpolated rate v(N) N.

    Dollars (None without a price) and the share saved against the optimum; None where not known.
    """
    from scipy.optimize import isotonic_regression

    choice = decision.choice.point if decision.kind == "optimum" else None
    known = {p.level.number: p.output_tok_s / p.level.number for p in points if p.output_tok_s}
    if choice is None or not choice.output_tokens or not choice.duration_s or not known:
        return None, None

    def hour_at(users: float) -> float | None:
        """The machine's hour, between levels straight in the logarithm of users."""
        if not isinstance(usd_per_hour, Mapping):
            return usd_per_hour
        hours = sorted((level.number, usd) for level, usd in usd_per_hour.items())
        return float(np.interp(math.log(users), [math.log(n) for n, _ in hours], [usd for _, usd in hours]))

    speeds = isotonic_regression(np.array([*known.values()]), increasing=False).x
    rate = float(np.interp(math.log(users), [math.log(n) for n in known], speeds)) * users
    duration_s = choice.output_tokens / choice.repeat_count / rate
    hour, before = hour_at(users), hour_at(choice.level.number)
    usd = None if hour is None else hour * duration_s / SECONDS_PER_HOUR
    return usd, 1 - duration_s / choice.duration_s * (hour / before if hour is not None and before else 1.0)


CHANGES = (-0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2)  # the scan: looser is positive


@dataclass(frozen=True, slots=True)
class SloStep:
    """Where a changed limit changes the optimum. looser: the change relative to the limit, negative is tighter.

    at: the measured value on which it turns; the limit has to pass it. level: the optimum beyond; None: no level
    is left. cost_change: its cost of the set relative to today's, -0.32 is 32 % cheaper.
    """

    looser: float
    at: float
    level: Level | None
    cost_usd: float | None
    cost_change: float | None


@dataclass(frozen=True, slots=True)
class SloScan:
    """The limit moved by `looser`: the optimum of the levels, and the interpolated boundary. None: there is none.

    boundary_cost_usd: the set with the answers of today's optimum, at the interpolated rate of the boundary.
    """

    looser: float
    value: float
    level: Level | None
    cost_usd: float | None
    boundary_users: float | None
    boundary_cost_usd: float | None


@dataclass(frozen=True, slots=True)
class SloPrice:
    """One limit of the SLO, the others held. steps: from the tightest to the loosest that change the optimum."""

    limit: str
    steps: tuple[SloStep, ...]
    scan: tuple[SloScan, ...]

    @property
    def saving(self) -> SloStep | None:
        """The least looser limit at which the set costs less; None if none does."""
        return next((s for s in self.steps if s.looser > 0 and s.cost_change is not None and s.cost_change < 0), None)

    @property
    def loss(self) -> SloStep | None:
        """The least tighter limit at which the optimum of today is lost."""
        return next((s for s in reversed(self.steps) if s.looser <= 0), None)


Boundary = Callable[[Slo], tuple[float | None, float | None]]  # users and cost_usd at the boundary of an SLO


def with_limit(slo: Slo, limit: Limit, value: float) -> Slo:
    """`slo` with another value of one of its limits."""
    return Slo(tuple(dataclasses.replace(one, value=value, typed="") if one == limit else one for one in slo.limits))


def slo_price(
    points: Sequence[PointSummary], slo: Slo, limit: Limit, usd_per_hour_total: HourPrice, boundary: Boundary
) -> SloPrice:
    """What `limit`, one of `slo`, costs. points: of one model. A limit of zero has no price: 1 % of it is nothing."""
    if limit.value <= 0:
        return SloPrice(str(limit), (), ())
    sign = 1 if limit.is_upper else -1

    def optimum(value: float) -> tuple[Level | None, float | None, float | None]:
        """The cheapest level at this value of the limit, its dollars and seconds: the price is one of least costs."""
        decision = decide(judge_points(points, with_limit(slo, limit, value), usd_per_hour_total))
        if decision.kind == "none":
            return None, None, None
        return decision.choice.point.level, decision.choice.cost.cost_usd, decision.choice.point.duration_s

    def scanned(looser: float) -> SloScan:
        value = limit.value * (1 + sign * looser)
        level, cost_usd, _ = optimum(value)
        return SloScan(looser, value, level, cost_usd, *boundary(with_limit(slo, limit, value)))

    known = {value for p in points if (value := limit.statistic.of_point(p)) is not None and value > 0}
    loosening, steps = sorted(known, reverse=not limit.is_upper), []
    if loosening:  # else the limit's figure is not known anywhere: no streaming, no tokens
        *_, before_s = optimum(limit.value)
        # between two neighbouring values every limit admits the same levels: one decision for each stretch
        beyond_all = 2 if limit.is_upper else 0.5
        ends = [loosening[0] / beyond_all, *loosening, loosening[-1] * beyond_all]
        found = [optimum((a + b) / 2) for a, b in itertools.pairwise(ends)]
        for value, tighter, looser in zip(loosening, found, found[1:], strict=False):
            if tighter[0] == looser[0]:
                continue
            change = sign * (value - limit.value) / limit.value
            within = change < 0 or (change == 0 and limit.holds(value))
            level, cost_usd, duration_s = tighter if within else looser
            cost_change = duration_s / before_s - 1 if duration_s is not None and before_s else None
            steps.append(SloStep(change, value, level, cost_usd, cost_change))
    return SloPrice(str(limit), tuple(steps), tuple(map(scanned, CHANGES)))


ZONE_TOLERANCE = 0.10


@dataclass(frozen=True, slots=True)
class ScalingLevel:
    """One level against the one below it (None for the lowest, and where the rate or the price is not known).

    usd_per_1m_output_tokens: the average cost AC = c / (3600 X). step_saving_usd: what one user more saves of it, the
    paper's "marginal cost" with its sign turned. elasticity: d ln X / d ln N.
    """

    level: Level
    output_tok_s: float
    usd_per_1m_output_tokens: float | None
    elasticity: float | None
    step_saving_usd: float | None
    slo_verdict: SloVerdict
    in_zone: bool
    disturbed: bool = False


@dataclass(frozen=True, slots=True)
class Zone:
    """The levels that meet the SLO at an average cost within `tolerance` of the least that do: lowest to highest.

    optimum_inside: False where the cheapest run of the set is not among them: its answers were shorter, or it is not
    sure to meet the SLO.
    """

    lowest: Level
    highest: Level
    levels: tuple[Level, ...]
    tolerance: float
    optimum_inside: bool


@dataclass(frozen=True, slots=True)
class Scaling:
    """One model's levels with a known rate, and what follows from them.

    steps, steps_cheaper: adjacent pairs, and those of them whose average cost falls (P1). elasticity_slope: as
    analysis.scalability has it (P2: below 0); None with fewer than four levels. zone: None if no level
    meets the SLO (P3). boundary_users: where the first limit breaks; None: none does within the levels, or one holds at
    none of them. boundary_saving: how much less the set of the optimum would cost there. usl None with fewer than four
    levels.
    """

    model: str | None
    slo: str
    optimum: Level | None
    levels: tuple[ScalingLevel, ...]
    steps: int
    steps_cheaper: int
    elasticity_slope: Estimate | None
    usl: Usl | None
    knee: float | None
    zone: Zone | None
    limits: tuple[LimitUsers, ...]
    boundary_users: Estimate | None
    boundary_saving: float | None
    prices: tuple[SloPrice, ...]


def scaling(
    points: Sequence[PointSummary],
    slo: Slo,
    usd_per_hour_total: HourPrice,
    *,
    repeats: Sequence[Sequence[PointSummary]] = (),
    p_met: Mapping[Level, float] | None = None,
    judged: Sequence[EvaluatedLevel] | None = None,
) -> Scaling:
    """The principles on the levels of ONE model.

    repeats: the points of each repeat by itself, where known: they give the boundary its interval. p_met: how sure each
    level is to meet the SLO, where known: the zone takes those that are sure, others as they were observed. judged: the
    levels as they were judged from their requests; else from the points alone. Levels without a rate of output tokens
    are left out of all but the decision and the limits. One price changes no share and no zone.
    """
    ordered = sorted(points, key=lambda p: p.level)
    judged = judge_points(ordered, slo, usd_per_hour_total) if judged is None else judged
    decision = decide(judged)
    rated = [j for j in judged if j.point.output_tok_s]
    numbers = [j.point.level.number for j in rated]
    rates = [j.point.output_tok_s or 0.0 for j in rated]
    steps = elasticities(numbers, rates)
    zone = _zone(rated, decision, p_met or {})
    limits = breakable_limits(ordered, slo)
    found = [limit_users(ordered, limit, repeats) for limit in limits]
    known = [one.users for one in found if one.users is not None and one.users.value is not None]
    nearest = min(known, key=lambda users: users.value or math.inf, default=None)
    if any(one.note == NONE_HOLDS for one in found):
        nearest = None
    cost = partial(boundary_cost, ordered, decision, usd_per_hour_total)

    def at_boundary(changed: Slo) -> tuple[float | None, float | None]:
        users = boundary_users(ordered, breakable_limits(ordered, changed))
        return users, None if users is None else cost(users)[0]

    return Scaling(
        model=ordered[0].model if ordered else None,
        slo=str(slo),
        optimum=decision.recommended.point.level if decision.kind == "optimum" else None,
        levels=tuple(_levels(rated, steps, zone)),
        steps=len(steps),
        steps_cheaper=sum(step > 0 for step in steps),
        elasticity_slope=elasticity_slope(numbers, rates),
        usl=fit_usl(numbers, rates),
        knee=knee(numbers, rates),
        zone=zone,
        limits=tuple(found),
        boundary_users=nearest,
        boundary_saving=None if nearest is None or nearest.value is None else cost(nearest.value)[1],
        # probes of a search tell nothing of another limit than that which they were for
        prices=()
        if any(p.probed for p in ordered)
        else tuple(slo_price(ordered, slo, limit, usd_per_hour_total, at_boundary) for limit in slo.limits),
    )


def _levels(rated: Sequence[EvaluatedLevel], steps: Sequence[float], zone: Zone | None) -> list[ScalingLevel]:
    usd = [one.cost.usd_per_1m_output_tokens for one in rated]
    users = [one.point.level.number for one in rated]
    savings = [
        None if before is None or after is None else (before - after) / (more - fewer)
        for (before, after), (fewer, more) in zip(itertools.pairwise(usd), itertools.pairwise(users), strict=True)
    ]
    return [
        ScalingLevel(
            level=one.point.level,
            output_tok_s=one.point.output_tok_s or 0.0,
            usd_per_1m_output_tokens=average,
            elasticity=elasticity,
            step_saving_usd=saving,
            slo_verdict=one.slo_verdict,
            in_zone=zone is not None and one.point.level in zone.levels,
            disturbed=bool(one.point.disturbances),
        )
        for one, average, elasticity, saving in zip(rated, usd, [None, *steps], [None, *savings], strict=False)
    ]


def _zone(rated: Sequence[EvaluatedLevel], decision: Decision, p_met: Mapping[Level, float]) -> Zone | None:
    """At one hourly price (or none) the average cost is the inverse of the rate, so the zone needs no price."""
    sure = [j for j in rated if j.is_candidate and p_met.get(j.point.level, 1.0) >= MET]
    # tokens per dollar at prices that differ, per second at one
    feasible = [(j.point.level, (j.point.output_tok_s or 0.0) / (j.cost.usd_per_hour or 1.0)) for j in sure]
    if not feasible:
        return None
    least = max(rate for _, rate in feasible) / (1 + ZONE_TOLERANCE)
    levels = tuple(level for level, rate in feasible if rate >= least)
    chosen = decision.recommended.point.level if decision.kind == "optimum" else None
    return Zone(levels[0], levels[-1], levels, ZONE_TOLERANCE, chosen in levels)
