"""How cost and speed scale with concurrency: the zone of lowest cost, elasticity, the scaling law. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from benchsuite.analysis.summary import summarise_points
from benchsuite.economics.scaling import Scaling, SloPrice, SloStep, scaling
from benchsuite.level import Level
from benchsuite.report import charts
from benchsuite.report.charts import Point, Series
from benchsuite.report.format import DASH, number
from benchsuite.report.judge import Judgement
from benchsuite.report.sections_levels import Figure, Judged, axis, level_figure, level_series, trend, whole_percent
from benchsuite.results import Decision, Estimate, PointSummary


def scaling_of(judgement: Judgement) -> Scaling:
    """The principles, the law and the price of the SLO, of the judged levels."""
    return scaling(
        [j.point for j in judgement.judged],
        judgement.slo,
        judgement.hour_price,
        repeats=_points_by_repeat(judgement),
        p_met={j.point.level: j.p_met for j in judgement.judged if j.p_met is not None},
        judged=judgement.judged,
    )


def _points_by_repeat(judgement: Judgement) -> list[list[PointSummary]]:
    """The points of each repeat by itself; [] where there is one repeat, or a table of levels tells none."""
    if judgement.run is None:
        return []
    rows = judgement.run.whole
    repeats = sorted(pc.unique(rows["repeat"]).to_pylist())
    if len(repeats) < 2:
        return []
    return [
        summarise_points(
            rows.filter(pc.equal(rows["repeat"], pa.scalar(repeat, rows["repeat"].type))),
            model=judgement.model,
            intervals=False,
        )
        for repeat in repeats
    ]


def scaling_sentences(found: Scaling) -> list[str]:
    """What the levels say, a sentence each, without full stops."""
    sentences = [f"average cost falls in {found.steps_cheaper} of {found.steps} steps"] if found.steps else []
    slope = found.elasticity_slope
    if slope is not None and slope.value is not None and slope.low is not None and slope.high is not None:
        trend = "returns diminish" if slope.high < 0 else "returns grow" if slope.low > 0 else "no significant trend"
        interval = f"{slope.low:.2f} to {slope.high:.2f}, {slope.method}"
        sentences.append(f"{trend}: elasticity changes by {slope.value:.2f} per ln N ({interval})")
    zone = zone_text(found)
    if found.zone is not None:
        zone += f", within {_whole(found.zone.tolerance)} of the lowest $/1M out that meets the SLO"
        if not found.zone.optimum_inside:
            zone += f"; {found.optimum} costs less per run, but with shorter answers or an SLO that is not proven"
    sentences.append(zone)
    if found.usl is not None:
        label = "" if found.knee is None else f"; knee at {found.knee:g}"
        sentences.append(f"scaling law: {law_text(found)}, {peak_text(found)}{label}")
    sentences += [_limit(one.limit, one.users, one.note) for one in found.limits]
    if found.boundary_saving is not None and found.optimum is not None:
        more = "less" if found.boundary_saving >= 0 else "more"
        saved = _whole(abs(found.boundary_saving))
        sentences.append(f"at that boundary the set of concurrency {found.optimum} would cost {saved} {more}")
    # what such a level says of money it says no surer than of the SLO
    doubts = {one.level: "undecided" for one in found.levels if one.slo_verdict in ("undecided", "unknown")}
    doubts |= {one.level: "disturbed" for one in found.levels if one.disturbed}
    return sentences + [text for price in found.prices if (text := price_sentence(price, found.optimum, doubts))]


def price_sentence(price: SloPrice, optimum: Level | None, doubts: Mapping[Level, str] = MappingProxyType({})) -> str:
    """'ttft_p95 < 1 s: 0.69 % looser saves 32 % (concurrency 32); 30 % tighter costs 67 % more (concurrency 8)'.

    doubts: levels that are undecided or disturbed; a sentence that rests on one says so.
    """
    parts, saving, loss, step = [], price.saving, price.loss, None
    if optimum is None:
        step = next((s for s in price.steps if s.looser > 0 and s.level is not None), None)
        if step is not None:
            parts.append(f"{_share(step.looser)} looser and concurrency {step.level} meets the SLO")
    if saving is not None:
        parts.append(f"{_share(saving.looser)} looser saves {_cost(saving)} (concurrency {saving.level})")
    if optimum is not None and loss is not None and loss.level is None:
        parts.append(f"{_share(loss.looser)} tighter and no level is left")
    elif optimum is not None and loss is not None:
        parts.append(f"{_share(loss.looser)} tighter costs {_cost(loss)} more (concurrency {loss.level})")
    steps = (saving, loss) if optimum is not None else (step, saving)
    rests_on = [optimum, *(one.level for one in steps if one is not None)]
    used = [level for level in dict.fromkeys(rests_on) if level is not None and level in doubts]
    if parts and used:
        parts.append("not sure: " + ", ".join(f"{level} is {doubts[level]}" for level in used))
    return f"{price.limit}: {'; '.join(parts)}" if parts else ""


def _cost(step: SloStep) -> str:
    return DASH if step.cost_change is None else _whole(abs(step.cost_change))


def _whole(ratio: float) -> str:
    return f"{100 * ratio:.0f} %"


def _share(change: float) -> str:
    return f"{number(abs(change) * 100, 2)} %"


def zone_text(found: Scaling) -> str:
    """'zone of lowest cost: concurrency 4 to 8'."""
    zone = found.zone
    if zone is None:
        return "zone of lowest cost: none, no level is proven to meet the SLO"
    ends = f"{zone.lowest}" if zone.lowest == zone.highest else f"{zone.lowest} to {zone.highest}"
    return f"zone of lowest cost: concurrency {ends}"


def law_text(found: Scaling) -> str:
    """'X(N) = 92.9 N / (1 + 0.039 (N - 1) + 0.00022 N (N - 1)), residuals up to 5 %'."""
    usl = found.usl
    assert usl is not None
    contention, coherency = ("0" if value < 1e-9 else f"{value:.2g}" for value in (usl.contention, usl.coherency))
    worst = max((abs(residual) for residual in usl.residuals), default=0.0)
    law = f"X(N) = {number(usl.rate_tok_s)} N / (1 + {contention} (N - 1) + {coherency} N (N - 1))"
    return f"{law}, residuals up to {_whole(worst)}"


def peak_text(found: Scaling) -> str:
    """'peak at concurrency 67 (extrapolated)'."""
    assert found.usl is not None
    peak = found.usl.n_max
    if peak is None:
        return "no peak in range"
    return f"peak at concurrency {peak:.0f}{' (extrapolated)' * (peak > found.levels[-1].level.number)}"


def _limit(limit: str, users: Estimate | None, note: str) -> str:
    if users is None:
        return f"{limit}: {note}"
    ends = f"{number(users.low)} to {number(users.high)}, " if users.low is not None or users.high is not None else ""
    return f"{limit} holds up to concurrency {number(users.value)}, interpolated ({ends}{users.method})"


def scaling_figures(found: Scaling, judged: Judged, decision: Decision) -> list[Figure]:
    """Average cost with the zone, output with the law, elasticity; [] below two levels with a known rate."""
    if len(found.levels) < 2:
        return []
    zone, usl, slope = found.zone, found.usl, found.elasticity_slope
    priced = any(one.usd_per_1m_output_tokens is not None for one in found.levels)
    column = "usd_per_1m_output_tokens" if priced else "output_tok_s"
    note = f"Green: within {whole_percent(zone.tolerance)} of the lowest cost that meets the SLO." if zone else ""
    cost = level_figure(
        zone_text(found),
        [level_series(judged, column)],
        axis(column),
        judged,
        decision,
        zone=None if zone is None else (zone.lowest.number, zone.highest.number),
        note=note,
    )

    measured = level_series(judged, "output_tok_s", "measured")
    lines, title, note = [measured], trend("output tok/s", measured), "The scaling law needs four levels."
    if usl is not None:
        low, high = found.levels[0].level.number, found.levels[-1].level.number
        steps = [low * (high / low) ** (k / 40) for k in range(41)]
        lines.append(Series("scaling law", tuple(Point(n, usl.at(n)) for n in steps), dashed=True))
        title, note = f"output tok/s: {peak_text(found)}", f"{law_text(found)}."
        if max((abs(residual) for residual in usl.residuals), default=0.0) > 0.15:
            note += " Above 15 % a level was disturbed."
    output = level_figure(title, lines, axis("output_tok_s"), judged, decision, note=note)

    elasticity = Series("elasticity", tuple(Point(one.level.number, one.elasticity) for one in found.levels))
    values = [value for _, value in elasticity.known]
    title = trend("elasticity of output", elasticity)
    if slope is not None and slope.high is not None and slope.high < 0:
        title = "returns diminish: each added user adds less output"
    elif values and max(values) <= 0.05:
        title = "added users add no output"
    note = "Relative change of output over that of concurrency: 1 is linear, 0 none; above 1.1 a level was disturbed."
    marks = [charts.Limit(1.0, "linear: 1")] if max(values, default=0.0) > 0.4 else []
    last = level_figure(title, [elasticity], "elasticity of output", judged, decision, marks, note=note)
    return [cost, output, last]
