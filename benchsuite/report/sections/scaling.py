"""How cost and speed scale with users: the zone of best cost, elasticity, the scaling law. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from benchsuite.economics.scaling import Scaling
from benchsuite.report import charts
from benchsuite.report.charts import Point, Series
from benchsuite.report.figures import Figure, Row, level_figure, level_series
from benchsuite.report.titles import whole_percent
from benchsuite.report.words import DASH, number, usd
from benchsuite.results import Decision, Judged

HEAD = ("users", "output tok/s", "$ per 1M output", "saved by each user more", "elasticity", "SLO", "in the zone")


def scaling_figures(found: Scaling, judged: Sequence[Judged], decision: Decision) -> list[Figure]:
    """Average cost with the zone, output with the law, elasticity; [] below two levels with a known rate."""
    if len(found.levels) < 2:
        return []
    return [_zone(found, judged, decision), _law(found, judged, decision), _elasticity(found, judged, decision)]


def _zone(found: Scaling, judged: Sequence[Judged], decision: Decision) -> Figure:
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


def _law(found: Scaling, judged: Sequence[Judged], decision: Decision) -> Figure:
    series = [level_series("measured", judged, lambda j: j.point.output_tok_s, "output_tok_s")]
    note, usl = "The law needs four levels.", found.usl
    if usl is not None:
        low, high = found.levels[0].concurrency, found.levels[-1].concurrency
        users = [low * (high / low) ** (k / 40) for k in range(41)] if high > low else [low]
        series.append(Series("scaling law", tuple(Point(n, usl.at(n)) for n in users), dashed=True))
        title = "no peak of output in range" if usl.n_max is None else f"output would peak at {usl.n_max:.0f} users"
        worst = max((abs(residual) for residual in usl.residuals), default=0.0)
        law = f"{number(usl.rate_tok_s)} N / (1 + {_small(usl.contention)} (N - 1) + {_small(usl.coherency)} N (N - 1))"
        doubt = "" if worst <= 0.15 else " Above 15 % a level was disturbed."
        note = f"X(N) = {law}, off by {whole_percent(worst)} at most.{doubt}"
    else:
        title = "output over the levels"
    return level_figure(title, series, "system output (tok/s)", judged, decision, note=note)


def _elasticity(found: Scaling, judged: Sequence[Judged], decision: Decision) -> Figure:
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


def scaling_rows(found: Scaling) -> list[Row]:
    """A row per level."""
    return [
        (
            str(level.concurrency),
            number(level.output_tok_s),
            usd(level.usd_per_1m_output_tokens),
            _signed(level.step_saving_usd),
            DASH if level.elasticity is None else f"{level.elasticity:.2f}",
            "kept" if level.meets_slo else "missed",
            "yes" if level.in_zone else "",
        )
        for level in found.levels
    ]


def _small(parameter: float) -> str:
    return "0" if parameter < 1e-9 else f"{parameter:.2g}"


def _signed(value: float | None) -> str:
    return f"-{usd(-value)}" if value is not None and value < 0 else usd(value)
