"""How cost and speed scale with users: the zone of best cost, elasticity, the scaling law. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from benchsuite.analysis.summary import summarise_points
from benchsuite.economics.scaling import Scaling, SloPrice, SloStep, scaling
from benchsuite.report import charts
from benchsuite.report.charts import Point, Series
from benchsuite.report.console import say, table
from benchsuite.report.format import DASH, number, usd
from benchsuite.report.judge import Judgement
from benchsuite.report.level_tables import SCALING, level_table
from benchsuite.report.sections_levels import Figure, level_figure, level_series, whole_percent
from benchsuite.results import Decision, Estimate, EvaluatedLevel, PointSummary


def scaling_of(judgement: Judgement) -> Scaling:
    """The principles, the law and the price of the SLO, of the judged levels."""
    return scaling(
        [j.point for j in judgement.judged],
        judgement.slo,
        judgement.hour_price,
        repeats=_points_by_repeat(judgement),
        p_met={j.point.concurrency: j.p_met for j in judgement.judged if j.p_met is not None},
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


def print_scaling(found: Scaling, console: Console | None = None) -> None:
    """Print the levels, the three principles, the boundary and the price of the SLO."""
    console = console or Console()
    console.print()
    say(console, f"{found.model or DASH}    SLO: {found.slo}", style="bold")
    styles = [
        "bold green" if one.concurrency == found.optimum else "" if one.meets_slo else "dim" for one in found.levels
    ]
    levels = level_table(SCALING, [(one.concurrency, one) for one in found.levels])
    console.print(table(console, *levels, styles=styles))
    for text in scaling_sentences(found):
        say(console, text, indent=2)
    for price in found.prices:
        if price.scan and price.limit == _first_to_break(found):
            console.print(_scan(price, console))


def scaling_sentences(found: Scaling) -> list[str]:
    """What the levels say, a sentence each, without full stops."""
    said = [f"average cost falls in {found.steps_cheaper} of {found.steps} steps"] if found.steps else []
    if found.elasticity_slope is not None:
        said.append(_returns(found.elasticity_slope))
    said.append(_zone(found))
    if found.usl is not None:
        said.append(_law(found))
    said += [_limit(one.limit, one.users, one.note) for one in found.limits]
    if found.boundary_saving is not None and found.optimum is not None:
        more = "less" if found.boundary_saving >= 0 else "more"
        said.append(
            f"at that boundary the set of {found.optimum} users would cost {_whole(abs(found.boundary_saving))} {more}"
        )
    return said + [text for price in found.prices if (text := price_sentence(price, found.optimum))]


def price_sentence(price: SloPrice, optimum: int | None) -> str:
    """'ttft_p95 < 1 s: 0.69 % looser saves 32 % (32 users); 30 % tighter costs 67 % more (8 users)'."""
    parts = []
    if optimum is None:
        step = next((s for s in price.steps if s.looser > 0 and s.concurrency is not None), None)
        if step is not None:
            parts.append(f"{_share(step.looser)} looser and {step.concurrency} users meet the SLO")
    if price.saving is not None:
        parts.append(
            f"{_share(price.saving.looser)} looser saves {_cost(price.saving)} ({price.saving.concurrency} users)"
        )
    if optimum is not None and price.loss is not None:
        lost = price.loss
        more = (
            "no level is left"
            if lost.concurrency is None
            else f"it costs {_cost(lost)} more ({lost.concurrency} users)"
        )
        parts.append(f"{_share(lost.looser)} tighter and {more}")
    return f"{price.limit}: {'; '.join(parts)}" if parts else ""


def _cost(step: SloStep) -> str:
    return DASH if step.cost_change is None else _whole(abs(step.cost_change))


def _whole(ratio: float) -> str:
    return f"{100 * ratio:.0f} %"


def _share(change: float) -> str:
    return f"{number(abs(change) * 100, 2)} %"


def _returns(slope: Estimate) -> str:
    assert slope.value is not None
    assert slope.low is not None
    assert slope.high is not None
    trend = "returns diminish" if slope.high < 0 else "returns grow" if slope.low > 0 else "no sure trend of returns"
    interval = f"{slope.low:.2f} to {slope.high:.2f}, {slope.method}"
    return f"{trend}: elasticity changes by {slope.value:.2f} per ln N ({interval})"


def _zone(found: Scaling) -> str:
    zone = found.zone
    if zone is None:
        return "zone of best cost: none, no level surely meets the SLO"
    span = str(zone.lowest) if zone.lowest == zone.highest else f"{zone.lowest} to {zone.highest}"
    text = f"zone of best cost: {span} users, within {_whole(zone.tolerance)} of the least $/1M that meets the SLO"
    return (
        text
        if zone.optimum_inside
        else text + f"; {found.optimum} costs less per run, but by shorter answers or not surely within the SLO"
    )


def _law(found: Scaling) -> str:
    usl = found.usl
    assert usl is not None
    peak = "no peak in range"
    if usl.n_max is not None:
        beyond = " (beyond the levels, extrapolated)" if usl.n_max > found.levels[-1].concurrency else ""
        peak = f"peak at {usl.n_max:.0f} users{beyond}"
    worst = max(usl.residuals, key=abs)
    label = "" if found.knee is None else f"; knee {found.knee}, a label"
    return (
        f"scaling law: {number(usl.rate_tok_s)} tok/s for one user, contention {_small(usl.contention)}, "
        f"coherency {_small(usl.coherency)}, {peak}; off by {_whole(abs(worst))} at most{label}"
    )


def _small(parameter: float) -> str:
    return "0" if parameter < 1e-9 else f"{parameter:.2g}"


def _limit(limit: str, users: Estimate | None, note: str) -> str:
    if users is None:
        return f"{limit}: {note}"
    ends = f"{number(users.low)} to {number(users.high)}, " if users.low is not None or users.high is not None else ""
    return f"{limit} holds up to {number(users.value)} users, interpolated ({ends}{users.method})"


def _first_to_break(found: Scaling) -> str | None:
    known = [(one.users.value, one.limit) for one in found.limits if one.users and one.users.value is not None]
    return min(known)[1] if known else None


def _scan(price: SloPrice, console: Console) -> Table:
    heads = ("looser", "limit", "optimum", "$ per run", "boundary", "$ there")
    rows = [
        (
            f"{one.looser:+.0%}" if one.looser else "today",
            number(one.value, 4),
            DASH if one.concurrency is None else str(one.concurrency),
            usd(one.cost_usd),
            number(one.boundary_users),
            usd(one.boundary_cost_usd),
        )
        for one in price.scan
    ]
    return table(console, heads, rows, title=f"cost against the limit {price.limit}")


def scaling_figures(found: Scaling, judged: Sequence[EvaluatedLevel], decision: Decision) -> list[Figure]:
    """Average cost with the zone, output with the law, elasticity; [] below two levels with a known rate."""
    if len(found.levels) < 2:
        return []
    return [_zone_row(found, judged, decision), _law_row(found, judged, decision), _elasticity(found, judged, decision)]


def _zone_row(found: Scaling, judged: Sequence[EvaluatedLevel], decision: Decision) -> Figure:
    zone = found.zone
    if zone is None:
        title = "no zone of best cost: no level surely keeps the SLO"
    else:
        span = f"{zone.lowest}" if zone.lowest == zone.highest else f"{zone.lowest} to {zone.highest}"
        title = f"zone of best cost: {span} users"
    priced = any(level.usd_per_1m_output_tokens is not None for level in found.levels)
    note = (
        f"Green: levels that keep the SLO within {whole_percent(zone.tolerance)} of the least average cost that does."
        if zone is not None
        else ""
    )
    if priced:
        name = "usd_per_1m_output_tokens"
        series = level_series("average cost", judged, lambda j: j.cost.usd_per_1m_output_tokens, name)
        label = "average cost (USD per 1M output)"
    else:
        series = level_series("output", judged, lambda j: j.point.output_tok_s, "output_tok_s")
        label = "system output (tok/s)"
    ends = None if zone is None else (zone.lowest, zone.highest)
    return level_figure(title, [series], label, judged, decision, zone=ends, note=note)


def _law_row(found: Scaling, judged: Sequence[EvaluatedLevel], decision: Decision) -> Figure:
    series = [level_series("measured", judged, lambda j: j.point.output_tok_s, "output_tok_s")]
    note, usl = "The law needs four levels.", found.usl
    if usl is not None:
        low, high = found.levels[0].concurrency, found.levels[-1].concurrency
        users = [low * (high / low) ** (k / 40) for k in range(41)] if high > low else [low]
        series.append(Series("scaling law", tuple(Point(n, usl.at(n)) for n in users), dashed=True))
        title = "no peak of output in range" if usl.n_max is None else f"output would peak at {usl.n_max:.0f} users"
        worst = max((abs(residual) for residual in usl.residuals), default=0.0)
        contention, coherency = _small_row(usl.contention), _small_row(usl.coherency)
        law = f"{number(usl.rate_tok_s)} N / (1 + {contention} (N - 1) + {coherency} N (N - 1))"
        doubt = "" if worst <= 0.15 else " Above 15 % a level was disturbed."
        note = f"X(N) = {law}, off by {whole_percent(worst)} at most.{doubt}"
    else:
        title = "output over the levels"
    return level_figure(title, series, "system output (tok/s)", judged, decision, note=note)


def _elasticity(found: Scaling, judged: Sequence[EvaluatedLevel], decision: Decision) -> Figure:
    points = tuple(Point(level.concurrency, level.elasticity) for level in found.levels)
    known = [(p.x, p.y) for p in points if p.y is not None]
    slope = found.elasticity_slope
    if slope is not None and slope.high is not None and slope.high < 0:
        title = "returns diminish: each user more adds less output"
    elif known and all(value <= 0.05 for _, value in known):
        title = "more users add no output"
    else:
        title = (
            f"elasticity of output: {number(known[0][1], 2)} at {known[0][0]:g}, {number(known[-1][1], 2)} at the end"
        )
    note = (
        "Share of a relative step in users that comes back as output: 1 in full, 0 none; above 1.1 a run was disturbed."
    )
    marks = [charts.Limit(1.0, "in full: 1")] if max((v for _, v in known), default=0.0) > 0.4 else []
    series = [Series("elasticity", points)]
    return level_figure(title, series, "elasticity of output", judged, decision, marks, note=note)


def _small_row(parameter: float) -> str:
    return "0" if parameter < 1e-9 else f"{parameter:.2g}"
