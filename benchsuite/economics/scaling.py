"""The three principles of cost and concurrency, as tests on one model's levels: a value object for table and report.

Average cost falls with users (P1), by less and less (P2), and is near its least in a zone of levels (P3). Beside them
the scaling law, the interpolated boundary of the SLO, and what each limit costs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchsuite.analysis.usl import Usl, elasticities, fit_usl, knee
from benchsuite.economics.cost import HourPrice
from benchsuite.economics.optimum import decide, judge_points
from benchsuite.economics.slo_boundary import (
    NONE_HOLDS,
    BoundaryCost,
    LimitUsers,
    boundary_users,
    breakable_limits,
    limit_users,
)
from benchsuite.economics.slo_price import SloPrice, slo_price
from benchsuite.results import Decision, Estimate, Judged, PointSummary
from benchsuite.slo import Slo

ZONE_TOLERANCE = 0.10
ZONE_P_MET = 0.95


@dataclass(frozen=True, slots=True)
class ScalingLevel:
    """One level against the one below it (None for the lowest, and where the rate or the price is not known).

    usd_per_1m_output_tokens: the average cost AC = c / (3600 X). step_saving_usd: what one user more saves of it, the
    paper's "marginal cost" with its sign turned. elasticity: d ln X / d ln N.
    """

    concurrency: int
    output_tok_s: float
    usd_per_1m_output_tokens: float | None
    elasticity: float | None
    step_saving_usd: float | None
    meets_slo: bool
    in_zone: bool


@dataclass(frozen=True, slots=True)
class Zone:
    """The levels that meet the SLO at an average cost within `tolerance` of the least that do: lowest to highest.

    optimum_inside: False where the cheapest run of the set is not among them: its answers were shorter, or it is not
    sure to meet the SLO.
    """

    lowest: int
    highest: int
    levels: tuple[int, ...]
    tolerance: float
    optimum_inside: bool


@dataclass(frozen=True, slots=True)
class Scaling:
    """One model's levels with a known rate, and what follows from them.

    steps, steps_cheaper: adjacent pairs, and those of them whose average cost falls (P1). elasticity_slope: b of
    elasticity = a + b ln N with its t interval (P2: below 0); None with fewer than three steps. zone: None if no level
    meets the SLO (P3). boundary_users: where the first limit breaks; None: none does within the levels, or one holds at
    none of them. boundary_saving: how much less the set of the optimum would cost there. usl None with fewer than four
    levels.
    """

    model: str | None
    slo: str
    optimum: int | None
    levels: tuple[ScalingLevel, ...]
    steps: int
    steps_cheaper: int
    elasticity_slope: Estimate | None
    usl: Usl | None
    knee: int | None
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
    p_met: Mapping[int, float] | None = None,
    seed: int = 0,
) -> Scaling:
    """The principles on the levels of ONE model.

    repeats: the points of each repeat by itself, where known: they give the boundary its interval. p_met: how sure each
    level is to meet the SLO, where known: the zone takes those of 95 %, others as they were observed. Levels without a
    rate of output tokens are left out of all but the decision and the limits. One price changes no share and no zone.
    """
    ordered = sorted(points, key=lambda p: p.concurrency)
    judged = judge_points(ordered, slo, usd_per_hour_total)
    decision = decide(judged, slo)
    rated = [j for j in judged if j.point.output_tok_s]
    numbers = [j.point.concurrency for j in rated]
    rates = [j.point.output_tok_s or 0.0 for j in rated]
    steps = elasticities(numbers, rates)
    zone = _zone(rated, decision, p_met or {})
    limits = breakable_limits(ordered, slo)
    found = [limit_users(ordered, limit, repeats, seed) for limit in limits]
    known = [one.users for one in found if one.users is not None and one.users.value is not None]
    nearest = min(known, key=lambda users: users.value or math.inf, default=None)
    if any(one.note == NONE_HOLDS for one in found):
        nearest = None
    cost = BoundaryCost(ordered, decision, usd_per_hour_total)

    def at_boundary(changed: Slo) -> tuple[float | None, float | None]:
        users = boundary_users(ordered, breakable_limits(ordered, changed))
        return users, None if users is None else cost(users)[0]

    return Scaling(
        model=ordered[0].model if ordered else None,
        slo=str(slo),
        optimum=decision.choice.point.concurrency if decision.kind == "optimum" else None,
        levels=tuple(_levels(rated, steps, zone)),
        steps=len(steps),
        steps_cheaper=sum(step > 0 for step in steps),
        elasticity_slope=_slope(numbers, steps),
        usl=fit_usl(numbers, rates),
        knee=knee(numbers, rates),
        zone=zone,
        limits=tuple(found),
        boundary_users=nearest,
        boundary_saving=None if nearest is None or nearest.value is None else cost(nearest.value)[1],
        prices=tuple(slo_price(ordered, slo, limit, usd_per_hour_total, at_boundary) for limit in slo.limits),
    )


def _levels(rated: Sequence[Judged], steps: Sequence[float], zone: Zone | None) -> list[ScalingLevel]:
    found: list[ScalingLevel] = []
    for i, one in enumerate(rated):
        average = one.cost.usd_per_1m_output_tokens
        before = rated[i - 1] if i else None
        saving = None
        if before is not None and average is not None and before.cost.usd_per_1m_output_tokens is not None:
            users = one.point.concurrency - before.point.concurrency
            saving = (before.cost.usd_per_1m_output_tokens - average) / users
        found.append(
            ScalingLevel(
                concurrency=one.point.concurrency,
                output_tok_s=one.point.output_tok_s or 0.0,
                usd_per_1m_output_tokens=average,
                elasticity=steps[i - 1] if i else None,
                step_saving_usd=saving,
                meets_slo=one.meets_slo,
                in_zone=zone is not None and one.point.concurrency in zone.levels,
            )
        )
    return found


def _zone(rated: Sequence[Judged], decision: Decision, p_met: Mapping[int, float]) -> Zone | None:
    """At one hourly price (or none) the average cost is the inverse of the rate, so the zone needs no price."""
    sure = [j for j in rated if j.meets_slo and p_met.get(j.point.concurrency, 1.0) >= ZONE_P_MET]
    # tokens per dollar at prices that differ, per second at one
    feasible = [(j.point.concurrency, (j.point.output_tok_s or 0.0) / (j.cost.usd_per_hour or 1.0)) for j in sure]
    if not feasible:
        return None
    least = max(rate for _, rate in feasible) / (1 + ZONE_TOLERANCE)
    levels = tuple(level for level, rate in feasible if rate >= least)
    chosen = decision.choice.point.concurrency if decision.kind == "optimum" else None
    return Zone(levels[0], levels[-1], levels, ZONE_TOLERANCE, chosen in levels)


def _slope(levels: Sequence[int], steps: Sequence[float]) -> Estimate | None:
    if len(steps) < 3:
        return None
    from scipy.stats import linregress, t

    middles = [(math.log(a) + math.log(b)) / 2 for a, b in itertools.pairwise(levels)]
    line = linregress(middles, steps)
    half = float(t.ppf(0.975, len(steps) - 2) * line.stderr)
    return Estimate(
        float(line.slope), float(line.slope) - half, float(line.slope) + half, len(steps), "95 % t, straight line"
    )
