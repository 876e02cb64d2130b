"""The decision: the cheapest measured level that meets the SLO, what stops a cheaper one, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence

from benchsuite.analysis.stats import ONE_RUN, none
from benchsuite.economics.chances import NEARLY, NO_CHANCES, SURE, Chances, slo_verdict
from benchsuite.economics.cost import HourPrice, cost_intervals, hour_at, point_cost
from benchsuite.results import Decision, Estimate, Judged, NoFeasiblePoint, Optimum, PointCost, PointSummary
from benchsuite.slo import LATENCIES, Limit, Slo

MAX_ERROR_RATE = Limit("error_rate", None, "<=", 0.01)


def measured(point: PointSummary, limit: Limit) -> float | None:
    """The figure of `point` that `limit` speaks of, in the limit's unit. None if it is not known."""
    if limit.metric in LATENCIES:
        fields = {"ttft": "ttft_s", "ttfa": "ttfa_s", "tpot": "tpot_s", "e2e": "e2e_s", "gap": "chunk_gap_s"}
        value: float | None = getattr(point, fields[limit.metric]).stat(limit.stat or "mean")
        return value
    match limit.metric:
        case "throughput":
            return point.throughput_paper_tok_s
        case "decode":
            return point.decode_tok_s
        case "output":
            return point.output_tok_s
        case "requests":
            return point.request_per_s
        case "error_rate":
            return point.error_rate
    raise ValueError(f"no figure for the limit {limit}")


def judge(point: PointSummary, cost: PointCost, slo: Slo, found: Chances = NO_CHANCES) -> Judged:
    """`point` held against every limit. A figure that is not known proves nothing: its limit is listed as unknown.

    Failing requests shorten a run and so make it look cheap: a point with more than 1 % of them misses, whatever the
    SLO, unless the SLO has its own error_rate limit. A points table without an error rate is taken at its word.
    found: from resampling the runs, where there are runs.
    """
    misses, unknown = [], []
    for limit in limits_of(slo):
        value = measured(point, limit)
        if value is not None and not limit.holds(value):
            misses.append(f"{limit} missed: {limit.show(value)}")
        elif value is None and limit is not MAX_ERROR_RATE:
            unknown.append(f"{limit} unknown")
    intervals = point.intervals or _of_one_run(point)
    return Judged(
        point,
        cost,
        tuple(misses),
        tuple(unknown),
        slo_verdict=slo_verdict(point.concurrency, misses, unknown, found),
        p_met=found.p_met.get(point.concurrency),
        intervals=intervals | cost_intervals(cost, intervals),
    )


def _of_one_run(point: PointSummary) -> dict[str, Estimate]:
    """For a level of a points table: what it tells, without intervals."""
    told = {
        "wall_s": point.wall_s,
        "throughput_paper_tok_s": point.throughput_paper_tok_s,
        "output_tok_s": point.output_tok_s,
        "request_per_s": point.request_per_s,
        "ttft_mean_s": point.ttft_s.mean,
    }
    return {name: none(value, 1, ONE_RUN) for name, value in told.items() if value is not None}


def judge_points(
    points: Sequence[PointSummary], slo: Slo, usd_per_hour_total: HourPrice, found: Chances = NO_CHANCES
) -> list[Judged]:
    """Every point with its cost at the price of the whole machine (one, or its level's), held against the SLO."""
    return [
        judge(point, point_cost(point, hour_at(usd_per_hour_total, point.concurrency)), slo, found) for point in points
    ]


def decide(judged: Sequence[Judged], slo: Slo, found: Chances = NO_CHANCES) -> Decision:
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
    return Optimum(
        model=model,
        choice=choice,
        runner_up=feasible[1] if len(feasible) > 1 else None,
        binding=binding,
        reason=_reason(choice, judged, binding),
        recommended=choice if p_opt is None or p_opt >= SURE else _safest(choice, feasible),
        p_opt=p_opt,
        p_by_level=found.p_by_level or {},
        p_method=found.method,
    )


def _safest(choice: Judged, feasible: Sequence[Judged]) -> Judged:
    """The lowest level among those that meet the SLO at nearly the same cost."""
    most = (_expense(choice) or 0.0) * NEARLY
    near = [j for j in feasible if (_expense(j) or 0.0) <= most]
    return min(near, key=lambda j: j.point.concurrency)


def limits_of(slo: Slo) -> tuple[Limit, ...]:
    """The limits that a level is held against: the SLO's, and at most 1 % errors where it does not limit them."""
    own = any(limit.metric == "error_rate" for limit in slo.limits)
    return slo.limits if own else (*slo.limits, MAX_ERROR_RATE)


def _expense(j: Judged) -> float | None:
    """What is to be least: the cost, or the duration where no price is known or the hour is free."""
    return j.cost.cost_usd or j.point.wall_s


def _order(j: Judged) -> tuple[float, int]:
    expense = _expense(j)
    return (float("inf") if expense is None else expense), j.point.concurrency


def stopped_level(choice: Judged, judged: Sequence[Judged]) -> Judged | None:
    """The level that the SLO keeps from being chosen: one that would cost less, else the next one up; None if neither.

    Of several that would cost less, those above `choice` first, the nearest first.
    """
    level = choice.point.concurrency
    cheaper = [j for j in judged if not j.meets_slo and _order(j)[0] < _order(choice)[0]]
    if cheaper:
        return min(cheaper, key=lambda j: (j.point.concurrency < level, abs(j.point.concurrency - level)))
    above = min((j for j in judged if j.point.concurrency > level), key=lambda j: j.point.concurrency, default=None)
    return above if above is not None and not above.meets_slo else None


def _binding(choice: Judged, judged: Sequence[Judged], slo: Slo) -> str:
    stopped = stopped_level(choice, judged)
    if stopped is not None:
        point = stopped.point
        missed = [limit for limit in limits_of(slo) if _miss(point, limit)]
        if missed:
            return str(max(missed, key=lambda limit: _miss(point, limit) or 0.0))
        return "; ".join(stopped.unknown)
    if choice.point.concurrency == max(j.point.concurrency for j in judged):
        return "no limit: the highest level measured is feasible; measure higher"
    return "no limit: every other level measured costs more"


def _miss(point: PointSummary, limit: Limit) -> float | None:
    value = measured(point, limit)
    return None if value is None else limit.miss(value)


def _reason(choice: Judged, judged: Sequence[Judged], binding: str) -> str:
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


def _none(model: str | None, judged: Sequence[Judged], slo: Slo, found: Chances) -> NoFeasiblePoint:
    if not judged:
        return NoFeasiblePoint(model=model, nearest=None, reason="no level was measured")

    def distance(j: Judged) -> tuple[float, int, tuple[float, int]]:
        return max((_miss(j.point, limit) or 0.0 for limit in limits_of(slo)), default=0.0), len(j.unknown), _order(j)

    nearest = min(judged, key=distance)
    doubts = (*nearest.misses, *nearest.unknown) or ("it has no duration",)
    return NoFeasiblePoint(
        model=model,
        nearest=nearest,
        reason=f"no level meets the SLO; the nearest is {nearest.point.concurrency}: {', '.join(doubts)}",
        p_by_level=found.p_by_level or {},
        p_method=found.method,
    )
