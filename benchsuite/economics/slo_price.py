"""The price of a limit: what the optimum costs if the SLO is a little looser or tighter. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchsuite.economics.cost import HourPrice
from benchsuite.economics.optimum import decide, judge_points, measured
from benchsuite.results import Optimum, PointSummary
from benchsuite.slo import Limit, Slo

CHANGES = (-0.2, -0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2)  # the scan: looser is positive


@dataclass(frozen=True, slots=True)
class SloStep:
    """Where a changed limit changes the optimum. looser: the change relative to the limit, negative is tighter.

    at: the measured value on which it turns; the limit has to pass it. concurrency: the optimum beyond; None: no level
    is left. cost_change: its cost of the set relative to today's, -0.32 is 32 % cheaper.
    """

    looser: float
    at: float
    concurrency: int | None
    cost_usd: float | None
    cost_change: float | None


@dataclass(frozen=True, slots=True)
class SloScan:
    """The limit moved by `looser`: the optimum of the levels, and the interpolated boundary. None: there is none.

    boundary_cost_usd: the set with the answers of today's optimum, at the interpolated rate of the boundary.
    """

    looser: float
    value: float
    concurrency: int | None
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


def slo_price(
    points: Sequence[PointSummary], slo: Slo, limit: Limit, usd_per_hour_total: HourPrice, boundary: Boundary
) -> SloPrice:
    """What `limit`, one of `slo`, costs. points: of one model. A limit of zero has no price: 1 % of it is nothing."""
    if limit.value <= 0:
        return SloPrice(str(limit), (), ())
    now = _optimum(points, slo, usd_per_hour_total)
    return SloPrice(
        limit=str(limit),
        steps=tuple(_steps(points, slo, limit, usd_per_hour_total, now)),
        scan=tuple(_scanned(points, slo, limit, usd_per_hour_total, boundary, change) for change in CHANGES),
    )


def with_limit(slo: Slo, limit: Limit, value: float) -> Slo:
    """`slo` with another value of one of its limits."""
    return Slo(tuple(dataclasses.replace(one, value=value) if one == limit else one for one in slo.limits))


def _optimum(points: Sequence[PointSummary], slo: Slo, usd: HourPrice) -> Optimum | None:
    decision = decide(judge_points(points, slo, usd), slo)
    return decision if decision.kind == "optimum" else None


def _upper(limit: Limit) -> bool:
    return limit.op in ("<", "<=")


def _steps(
    points: Sequence[PointSummary], slo: Slo, limit: Limit, usd: HourPrice, now: Optimum | None
) -> list[SloStep]:
    known = {value for p in points if (value := measured(p, limit)) is not None and value > 0}
    loosening = sorted(known, reverse=not _upper(limit))
    if not loosening:
        return []  # the limit's figure is not known anywhere: no streaming, no tokens
    # between two neighbouring values every limit admits the same levels: one decision for each stretch
    ends = [loosening[0] * (0.5 if _upper(limit) else 2), *loosening, loosening[-1] * (2 if _upper(limit) else 0.5)]
    found = [_optimum(points, with_limit(slo, limit, (a + b) / 2), usd) for a, b in itertools.pairwise(ends)]
    steps = []
    for value, tighter, looser in zip(loosening, found, found[1:], strict=False):
        if _level(tighter) == _level(looser):
            continue
        change = (value - limit.value) / limit.value * (1 if _upper(limit) else -1)
        beyond = tighter if change < 0 or (change == 0 and limit.holds(value)) else looser
        steps.append(_step(change, value, beyond, now))
    return steps


def _step(looser: float, at: float, beyond: Optimum | None, now: Optimum | None) -> SloStep:
    if beyond is None:
        return SloStep(looser, at, None, None, None)
    choice, before = beyond.choice, now.choice.point.wall_s if now else None
    wall_s = choice.point.wall_s
    change = wall_s / before - 1 if wall_s is not None and before else None
    return SloStep(looser, at, choice.point.concurrency, choice.cost.cost_usd, change)


def _level(decision: Optimum | None) -> int | None:
    return None if decision is None else decision.choice.point.concurrency


def _scanned(
    points: Sequence[PointSummary], slo: Slo, limit: Limit, usd: HourPrice, boundary: Boundary, looser: float
) -> SloScan:
    moved = limit.value * (1 + looser if _upper(limit) else 1 - looser)
    changed = with_limit(slo, limit, moved)
    decision = _optimum(points, changed, usd)
    users, cost_usd = boundary(changed)
    return SloScan(
        looser=looser,
        value=moved,
        concurrency=_level(decision),
        cost_usd=None if decision is None else decision.choice.cost.cost_usd,
        boundary_users=users,
        boundary_cost_usd=cost_usd,
    )
