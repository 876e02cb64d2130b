"""The figures of a report: which values, under which finding. Pure functions of a judgement and its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchsuite.analysis.rows import Rows, as_table, levels, rows_of
from benchsuite.economics.optimum import measured
from benchsuite.report import charts
from benchsuite.report.charts import Point, Series
from benchsuite.report.words import number, tail, usd
from benchsuite.results import Decision, Distribution, Judged
from benchsuite.slo import Limit, Slo


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart and the finding that is its title."""

    title: str
    svg: str


def level_figures(judged: Sequence[Judged], decision: Decision, slo: Slo) -> list[Figure]:
    """TTFT, TPOT, per-user throughput and system output over the concurrency level."""
    return [
        ttft_figure(judged, decision, slo),
        _tpot(judged, decision, slo),
        _throughput(judged, decision, slo),
        _output(judged, decision, slo),
    ]


def picture(judged: Sequence[Judged], decision: Decision) -> Figure:
    """The one chart beside the decision: what is made cheap, the duration of the run where no price is known."""
    if _priced(judged):
        return cost_figure(judged, decision)
    title = _least("the run is shortest", [(j, j.point.wall_s) for j in judged], lambda v: f"{number(v)} s")
    return _figure(
        title, [_series("wall time", judged, lambda j: j.point.wall_s, "wall_s")], "wall time (s)", judged, decision
    )


def cost_figure(judged: Sequence[Judged], decision: Decision) -> Figure:
    """Dollars per million output tokens over the level."""
    costs = [(j, j.cost.usd_per_1m_output_tokens) for j in judged]
    figure = "usd_per_1m_output_tokens"
    series = _series("cost", judged, lambda j: j.cost.usd_per_1m_output_tokens, figure)
    title = _least("output costs least", costs, lambda v: f"{usd(v)} per 1M tokens")
    return _figure(title, [series], "cost of output (USD per 1M tokens)", judged, decision)


def distribution_figures(requests: Any, slo: Slo) -> list[Figure]:
    """ECDFs of TTFT and TPOT, a curve per level. requests: as for analysis.summarise_points."""
    table = as_table(requests)
    names = [str(level) for level in levels(table)]
    samples = [_latencies_ms(rows_of(table, level)) for level in levels(table)]
    return [
        _distribution("ttft", "TTFT", [(name, ttft) for name, (ttft, _) in zip(names, samples, strict=True)], slo),
        _distribution("tpot", "TPOT", [(name, tpot) for name, (_, tpot) in zip(names, samples, strict=True)], slo),
    ]


def _distribution(metric: str, what: str, values: Sequence[tuple[str, Sequence[float]]], slo: Slo) -> Figure:
    marks = [
        charts.Limit(limit.value * 1000, str(limit))
        for limit in slo.limits
        if limit.metric == metric and limit.stat != "mean"  # a mean is no place on this axis
    ]
    title = _spread(what, values)
    return Figure(title, charts.ecdf_chart(values, title=title, x_label=f"{what} (ms)", limits=marks))


def _latencies_ms(rows: Rows) -> tuple[list[float], list[float]]:
    """TTFT and TPOT of the requests that ended well (docs/METHODS.md), milliseconds."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ttft = (rows.first_s - rows.sent_s)[rows.ok & (rows.output_tokens > 0)]
        span, steps = rows.last_s - rows.first_s, rows.output_tokens - 1
        tpot = (span / steps)[rows.ok & (steps >= 1) & (span > 0)]
    return _finite_ms(ttft), _finite_ms(tpot)


def _finite_ms(values_s: Any) -> list[float]:
    return [float(value) * 1000 for value in values_s[np.isfinite(values_s)]]


def ttft_figure(judged: Sequence[Judged], decision: Decision, slo: Slo) -> Figure:
    """Mean and, where n supports it, 95th percentile of the time to first token."""
    return _latency("ttft", "TTFT", lambda j: j.point.ttft_s, judged, decision, slo)


def _tpot(judged: Sequence[Judged], decision: Decision, slo: Slo) -> Figure:
    return _latency("tpot", "TPOT", lambda j: j.point.tpot_s, judged, decision, slo)


def _latency(
    metric: str,
    what: str,
    values: Callable[[Judged], Distribution],
    judged: Sequence[Judged],
    decision: Decision,
    slo: Slo,
) -> Figure:
    mean = _series("mean", judged, lambda j: _ms(values(j).mean), f"{metric}_mean_s", 1000)
    p95 = _series("p95", judged, lambda j: _ms(tail(values(j), "p95")), f"{metric}_p95_s", 1000)
    shown = [mean, *([p95] if any(p.y is not None for p in p95.points) else [])]
    limits = [limit for limit in slo.limits if limit.metric == metric]
    title = _against(what, limits, judged) or _course(f"mean {what}", mean, "ms")
    marks = [charts.Limit(limit.value * 1000, str(limit)) for limit in limits]
    return _figure(title, shown, f"{what} (ms)", judged, decision, marks)


def _throughput(judged: Sequence[Judged], decision: Decision, slo: Slo) -> Figure:
    value = "throughput_paper_tok_s"
    series = _series("per-user throughput", judged, lambda j: j.point.throughput_paper_tok_s, value)
    limits = [limit for limit in slo.limits if limit.metric == "throughput"]
    title = _against("per-user throughput", limits, judged) or _course("per-user throughput", series, "tok/s")
    marks = [charts.Limit(limit.value, str(limit)) for limit in limits]
    return _figure(title, [series], "per-user throughput (tok/s)", judged, decision, marks)


def _output(judged: Sequence[Judged], decision: Decision, slo: Slo) -> Figure:
    series = _series("output", judged, lambda j: j.point.output_tok_s, "output_tok_s")
    limits = [limit for limit in slo.limits if limit.metric == "output"]
    known = [(p.y, p.x) for p in series.points if p.y is not None]
    best = max(known, default=None)
    title = (
        "system output is not known" if best is None else f"system output peaks at {best[1]:g}: {number(best[0])} tok/s"
    )
    marks = [charts.Limit(limit.value, str(limit)) for limit in limits]
    return _figure(title, [series], "system output (tok/s)", judged, decision, marks)


def _figure(
    title: str,
    series: Sequence[Series],
    y_label: str,
    judged: Sequence[Judged],
    decision: Decision,
    limits: Sequence[charts.Limit] = (),
) -> Figure:
    title = title[:1].upper() + title[1:]
    chart = charts.level_chart(
        series,
        title=title,
        y_label=y_label,
        limits=limits,
        infeasible=[j.point.concurrency for j in judged if not j.meets_slo],
        optimum=decision.choice.point.concurrency if decision.kind == "optimum" else None,
    )
    return Figure(title, chart)


def _series(
    name: str, judged: Sequence[Judged], value: Callable[[Judged], float | None], figure: str = "", scale: float = 1.0
) -> Series:
    """A point a level; `figure` names its interval in `Judged.intervals`, in units of 1 / scale."""

    def at(j: Judged) -> Point:
        found = j.intervals.get(figure)
        if found is None:
            return Point(j.point.concurrency, value(j))
        low, high = (None if end is None else end * scale for end in (found.low, found.high))
        return Point(j.point.concurrency, value(j), low, high)

    return Series(name, tuple(at(j) for j in judged))


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else value_s * 1000


def _priced(judged: Sequence[Judged]) -> bool:
    return any(j.cost.usd_per_1m_output_tokens is not None for j in judged)


def _least(said: str, values: Sequence[tuple[Judged, float | None]], show: Callable[[float], str]) -> str:
    known = [(value, j.point.concurrency) for j, value in values if value is not None]
    if not known:
        return f"where {said} is not known"
    value, level = min(known)
    return f"{said} at {level}: {show(value)}"


def _against(what: str, limits: Sequence[Limit], judged: Sequence[Judged]) -> str | None:
    """'TTFT keeps ttft_mean < 1 s up to 16': how the levels stand to the first limit. None without a limit."""
    if not limits or not judged:
        return None
    limit = limits[0]
    values = [(j.point.concurrency, measured(j.point, limit)) for j in judged]
    missing = [level for level, value in values if value is not None and not limit.holds(value)]
    if not missing:
        unknown = any(value is None for _, value in values)
        return f"{what} keeps {limit} at every {'known ' * unknown}level"
    if len(missing) == len(values):
        return f"{what} misses {limit} at every level"
    if len(missing) > 1 and all(level in missing for level, _ in values if level >= missing[0]):
        return f"{what} misses {limit} from {missing[0]} up"
    return f"{what} misses {limit} at {', '.join(str(level) for level in missing)}"


def _course(what: str, series: Series, unit: str) -> str:
    known = [p for p in series.points if p.y is not None]
    if not known:
        return f"{what} is not known"
    first, last = known[0], known[-1]
    if first is last:
        return f"{what} at {first.x:g}: {number(first.y)} {unit}"
    return f"{what} goes from {number(first.y)} {unit} at {first.x:g} to {number(last.y)} {unit} at {last.x:g}"


def _spread(what: str, values: Sequence[tuple[str, Sequence[float]]]) -> str:
    """How far apart the middle and the slow end lie at the highest level that has values."""
    known = [(level, sorted(sample)) for level, sample in values if len(sample)]
    if not known:
        return f"{what} is not known"
    level, sample = known[-1]
    half, slow = sample[(len(sample) - 1) // 2], sample[-max(1, len(sample) // 10)]
    return f"{what} at {level}: half within {number(half)} ms, nine in ten within {number(slow)} ms"
