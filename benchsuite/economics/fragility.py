"""Decisions that hang on a hair, and every warning that needs more than one level: what judged points must carry."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchsuite.analysis.checks import check_levels
from benchsuite.economics.cost import HourPrice
from benchsuite.economics.optimum import decide, judge_points, measured
from benchsuite.results import Decision, Judged, PointSummary, Warn
from benchsuite.slo import Limit, Slo

MARGIN = 0.01
_REMEDY = "one run cannot tell: repeat this level, or decide whether the limit is meant that exactly"


def with_level_warnings(points: Sequence[PointSummary], slo: Slo, usd_per_hour_total: HourPrice) -> list[PointSummary]:
    """The points, each with what the other levels of its model, the SLO and the decision say against it.

    Points of several models keep their order; warnings that a point has already stay in front, once.
    """
    found: dict[tuple[str | None, int], list[Warn]] = {}
    for model in dict.fromkeys(p.model for p in points):
        own = [p for p in points if p.model == model]
        judged = judge_points(own, slo, usd_per_hour_total)
        for warn in [*check_levels(own), *fragile_optimum(judged, decide(judged, slo), slo)]:
            found.setdefault((model, warn.concurrency or 0), []).append(warn)
    return [
        dataclasses.replace(p, warnings=tuple(dict.fromkeys((*p.warnings, *found.get((p.model, p.concurrency), ())))))
        for p in points
    ]


def fragile_optimum(judged: Sequence[Judged], decision: Decision, slo: Slo) -> list[Warn]:
    """The optimum if it keeps a limit by less than 1 %, and levels that would be it but miss by less than 1 %."""
    found = []
    if decision.kind == "optimum":
        choice = decision.choice
        for limit, margin in _margins(choice, slo):
            if limit.holds(_value(choice, limit)) and margin < MARGIN:
                found.append(
                    _warn(choice, f"the optimum keeps {limit} by {margin:.2%}: {limit.show(_value(choice, limit))}")
                )
        rivals = [j for j in judged if j.misses and _cheaper(j, choice)]
    else:
        rivals = [] if decision.nearest is None or not decision.nearest.misses else [decision.nearest]
    for rival in rivals:
        missed = [(limit, margin) for limit, margin in _margins(rival, slo) if not limit.holds(_value(rival, limit))]
        # a miss beyond the SLO's own limits (too many errors) is no hair
        if rival.unknown or len(missed) < len(rival.misses) or any(margin >= MARGIN for _, margin in missed):
            continue
        texts = " and ".join(f"{limit} by {margin:.2%}: {limit.show(_value(rival, limit))}" for limit, margin in missed)
        found.append(_warn(rival, f"misses {texts}; otherwise it would {_else(rival, decision)}"))
    return found


def _margins(judged: Judged, slo: Slo) -> list[tuple[Limit, float]]:
    """The SLO's limits whose figure is known, with the distance to it relative to the limit."""
    known = [limit for limit in slo.limits if measured(judged.point, limit) is not None and limit.value > 0]
    return [(limit, abs(_value(judged, limit) - limit.value) / limit.value) for limit in known]


def _value(judged: Judged, limit: Limit) -> float:
    value = measured(judged.point, limit)
    assert value is not None
    return value


def _expenses(one: Judged, other: Judged) -> tuple[float | None, float | None]:
    """What both cost; how long they take where there is no price."""
    if one.cost.cost_usd and other.cost.cost_usd:
        return one.cost.cost_usd, other.cost.cost_usd
    return one.point.wall_s, other.point.wall_s


def _cheaper(one: Judged, other: Judged) -> bool:
    a, b = _expenses(one, other)
    return a is not None and b is not None and a < b


def _else(rival: Judged, decision: Decision) -> str:
    if decision.kind == "none":
        return "meet the SLO"
    ours, theirs = _expenses(rival, decision.choice)
    assert ours is not None
    assert theirs is not None
    return f"cost {1 - ours / theirs:.0%} less than the optimum {decision.choice.point.concurrency}"


def _warn(judged: Judged, finding: str) -> Warn:
    return Warn("fragile_optimum", finding, _REMEDY, judged.point.concurrency)
