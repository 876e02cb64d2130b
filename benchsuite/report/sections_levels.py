"""The parts of a page, and its charts over the level: each metric, GPUs and energy, distributions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchsuite.economics.decision import measured, stopped_level
from benchsuite.metrics import BY_COLUMN, METRICS, Statistic
from benchsuite.report import charts
from benchsuite.report.charts import SMALL, Frame, Point, Series, ecdf_chart, quantile
from benchsuite.report.format import DASH, count, number, sentence, show, tail
from benchsuite.report.judge import Judgement
from benchsuite.report.level_tables import Row
from benchsuite.results import Decision, EvaluatedLevel, GpuUse, Spread
from benchsuite.slo import Limit, Slo

Judged = Sequence[EvaluatedLevel]


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart, the finding that is its title, and its values as a table.

    note: what it assumes, under it. narrow: the same chart for a narrow screen, where `svg` would be too small. left:
    columns of text, from 0, -1 the last.
    """

    title: str
    svg: str
    head: Row = ()
    rows: Sequence[Row] = ()
    note: str = ""
    narrow: str = ""
    left: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """name: of its CSV. left: as of a Figure. marks: of each row 'chosen', 'misses' or ''."""

    name: str
    head: Row
    rows: Sequence[Row]
    title: str = ""
    left: tuple[int, ...] = ()
    marks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: its address, its name in the list of links, its title, and what stands in it, in this order."""

    anchor: str
    link: str
    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    items: Sequence[str] = ()
    tables: Sequence[Table] = ()
    legend: Sequence[tuple[str, str]] = ()  # a name and its mark
    columns: Literal["", "two", "full"] = ""

    @property
    def is_empty(self) -> bool:
        """It has nothing to show."""
        return not (self.figures or self.items or self.tables)


def whole_percent(ratio: float) -> str:
    """A share for a sentence: '34 %', which no line break parts."""
    return f"{100 * ratio:.0f}\u00a0%"


def mark_rows(judged: Judged, chosen: EvaluatedLevel | None) -> list[str]:
    """For a table with a row per level."""
    return ["chosen" if j is chosen else "" if j.meets_slo else "misses" for j in judged]


def axis(column: str, *, stat: bool = True) -> str:
    """The label of a metric's axis: 'TTFT mean (ms)', 'tok/s/user'. stat: with the statistic."""
    metric = BY_COLUMN[column].metric
    name = f"{metric.label} {BY_COLUMN[column].stat}" if stat and metric.per_request else metric.label
    return f"{name} ({metric.shown})" if metric.shown else name


def level_series(judged: Judged, column: str, name: str = "", *, any_n: bool = False) -> Series:
    """A point a level in the unit that tables show, with its interval.

    An interval that does not hold the value shown is left out: it is of the steady window alone, the value of all.
    any_n: also a percentile that few requests support.
    """
    one = BY_COLUMN[column]
    scale = one.metric.scale

    def at(j: EvaluatedLevel) -> Point:
        found, value = j.intervals.get(column), one.of(j)
        if one.stat in ("p95", "p99") and not any_n:
            value = tail(j.point.distributions[one.metric.key], one.stat)
        if value is None:
            return Point(j.point.concurrency, None)
        if found is None or found.low is None or found.high is None or not found.low <= value <= found.high:
            return Point(j.point.concurrency, value * scale)
        return Point(j.point.concurrency, value * scale, found.low * scale, found.high * scale)

    return Series(name or one.stat or one.metric.label, tuple(at(j) for j in judged))


def is_known(series: Series) -> bool:
    """It has a value at any level."""
    return any(p.y is not None for p in series.points)


def trend(name: str, series: Series, unit: str = "") -> str:
    """'TPOT mean goes from 10.0 ms at 2 to 30.0 ms at 8'."""
    values = [(p.x, f"{number(p.y)} {unit}".strip()) for p in series.points if p.y is not None]
    if not values:
        return f"{name} is not known"
    (low, first), (high, last) = values[0], values[-1]
    if len({text for _, text in values}) == 1:
        return f"{name} is {first} at {'every level' if len(values) > 1 else f'{low:g}'}"
    return f"{name} goes from {first} at {low:g} to {last} at {high:g}"


def limit_title(limits: Sequence[Limit], judged: Judged) -> str:
    """'ttft_mean < 1 s is violated from 16 up': the levels against the first limit. '' without a limit or a value."""
    if not limits or not judged:
        return ""
    limit = limits[0]
    values = [(j.point.concurrency, measured(j.point, limit)) for j in judged]
    if all(value is None for _, value in values):
        return ""
    missing = [level for level, value in values if value is not None and not limit.holds(value)]
    if not missing:
        known = "known " * any(value is None for _, value in values)
        return f"{limit} holds at every {known}level"
    if len(missing) == len(values):
        return f"{limit} is violated at every level"
    if len(missing) > 1 and all(level in missing for level, _ in values if level >= missing[0]):
        return f"{limit} is violated from {missing[0]} up"
    return f"{limit} is violated at {', '.join(map(str, missing))}"


def _best(column: str, judged: Judged) -> str:
    """'lowest $/1M out: $0.0180 at 32'."""
    one = BY_COLUMN[column]
    values = [(value, j.point.concurrency) for j in judged if (value := one.of(j)) is not None]
    if not values:
        return f"{one.metric.label} is not known"
    value, level = min(values) if one.metric.better == "less" else max(values)
    word = "lowest" if one.metric.better == "less" else "highest"
    return f"{word} {one.metric.label}: {show(one.metric, value)} at {level}"


def limit_marks(limits: Sequence[Limit]) -> list[charts.Limit]:
    """Their lines in a chart of their metric: 'p95 < 1 s'."""
    return [
        charts.Limit(
            limit.value * METRICS[limit.metric].scale,
            f"{limit.stat or ''} {limit.op} {limit.show(limit.value)}".strip(),
        )
        for limit in limits
    ]


LEVEL_COLUMNS = (
    "ttft_mean_s", "output_tok_s_per_user", "cost_usd", "tpot_mean_s", "e2e_mean_s", "output_tok_s",
    "goodput_per_s",
)  # fmt: skip


def level_figures(judged: Judged, decision: Decision, slo: Slo) -> list[Figure]:
    """A figure for each of LEVEL_COLUMNS; of cost and goodput where any level knows them."""
    shown = [
        column
        for column in LEVEL_COLUMNS
        if column not in ("cost_usd", "goodput_per_s") or any(BY_COLUMN[column].of(j) is not None for j in judged)
    ]
    return [metric_figure(column, judged, decision, slo) for column in shown]


def metric_figure(
    column: str, judged: Judged, decision: Decision, slo: Slo, frame: Frame = SMALL, title: str = ""
) -> Figure:
    """A metric over the level with its limits. Of a latency's mean also the percentile in the SLO, else the 95th."""
    metric = BY_COLUMN[column].metric
    limits = [limit for limit in slo.limits if limit.metric == metric.key]
    series = [level_series(judged, column)]
    if metric.per_request:
        promised = next((limit.stat for limit in limits if limit.stat not in (None, "mean")), None)
        high = Statistic(metric, promised or "p95").column
        series += [one for one in [level_series(judged, high, any_n=promised is not None)] if is_known(one)]
    title = title or limit_title(limits, judged)
    if not title and metric.with_users is not None:
        title = trend(axis(column).partition(" (")[0], series[0], metric.shown)
    label = axis(column, stat=len(series) == 1)
    return level_figure(title or _best(column, judged), series, label, judged, decision, limit_marks(limits), frame)


def picture(judged: Judged, decision: Decision, slo: Slo, frame: Frame = SMALL) -> Figure:
    """The chart next to the decision: what is minimised; where no level meets the SLO, the limit nearest to be met."""
    if decision.kind == "none" and decision.nearest is not None and decision.nearest.misses:
        limit = next((one for one in slo.limits if decision.nearest.misses[0].startswith(f"{one.name} ")), None)
        if limit is not None:
            stat = "mean" if METRICS[limit.metric].per_request else None
            return metric_figure(Statistic(METRICS[limit.metric], stat).column, judged, decision, slo, frame)
    column = "usd_per_1m_output_tokens"
    if all(BY_COLUMN[column].of(j) is None for j in judged):
        column = "duration_s"
    return metric_figure(column, judged, decision, slo, frame, _choice_title(column, judged, decision))


def _choice_title(column: str, judged: Judged, decision: Decision) -> str:
    """'16 has the lowest $/1M out within the SLO; 32 would cost 5 % less but violates it'; '' without a choice."""
    if decision.kind == "none":
        return ""
    level, name = decision.choice.point.concurrency, BY_COLUMN[column].metric.label
    title = f"concurrency {level} has the lowest {name} within the SLO"
    stopped = stopped_level(decision.choice, judged)
    cost, lower = (None if j is None else j.cost.usd_per_1m_output_tokens for j in (decision.choice, stopped))
    if stopped is None or not cost or not lower or lower >= cost:
        return title
    return f"{title}; {stopped.point.concurrency} would cost {whole_percent(1 - lower / cost)} less but violates it"


def level_figure(
    title: str,
    series: Sequence[Series],
    y_label: str,
    judged: Judged,
    decision: Decision,
    limits: Sequence[charts.Limit] = (),
    frame: Frame = SMALL,
    *,
    zone: tuple[float, float] | None = None,
    note: str = "",
) -> Figure:
    """A figure over the levels of one run, with its optimum and the levels that violate the SLO."""
    title = sentence(title)[:-1]
    optimum = decision.recommended if decision.kind == "optimum" else None
    chart = charts.level_chart(
        series,
        title=title,
        y_label=y_label,
        limits=limits,
        infeasible=[j.point.concurrency for j in judged if not j.meets_slo],
        optimum=None if optimum is None else optimum.point.concurrency,
        mark="optimum" if decision.kind == "optimum" and optimum is decision.choice else "recommended",
        zone=zone,
        frame=frame,
    )
    return Figure(title, chart, *series_table(series, y_label), note)


def series_table(series: Sequence[Series], y_label: str) -> tuple[Row, list[Row]]:
    """The values of lines over the level: head and rows, with the ends of intervals where any is known."""
    lines = [one for one in series if not one.dashed]
    with_ends = any(p.low is not None for one in lines for p in one.points)
    head = ["concurrency"]
    for one in lines:
        head += [y_label if len(lines) == 1 else f"{one.name}, {y_label}", *["95 % from", "to"] * with_ends]
    rows = []
    for level in sorted({p.x for one in lines for p in one.points}):
        points = [next((p for p in one.points if p.x == level), Point(level, None)) for one in lines]
        values = ((p.y, p.low, p.high) if with_ends else (p.y,) for p in points)
        rows.append((f"{level:g}", *(number(value) for of_line in values for value in of_line)))
    return tuple(head), rows


_ACTIVITY: tuple[tuple[str, Callable[[GpuUse], Spread | None]], ...] = (
    ("any kernel", lambda use: use.util_ratio),
    ("SM", lambda use: use.sm_active_ratio),
    ("tensor", lambda use: use.tensor_active_ratio),
    ("DRAM", lambda use: use.dram_active_ratio),
)


def gpu_figures(judged: Judged, decision: Decision) -> list[Figure]:
    """Activity, power and energy per token; [] where nothing was measured."""
    found = []
    activity = [one for name, get in _ACTIVITY if is_known(one := _activity(name, get, judged))]
    if activity:
        title = trend(f"GPU activity ({activity[0].name})", activity[0], "%")
        note = "Any kernel: the driver's utilization, near 100 % at low concurrency already; it does not show headroom."
        found.append(level_figure(title, activity, "GPU activity (%)", judged, decision, note=note))
    power = Series("power", tuple(Point(j.point.concurrency, _watts(j)) for j in judged))
    if is_known(power):
        found.append(level_figure(trend("GPU power", power, "W"), [power], "power of all GPUs (W)", judged, decision))
    energies = [(j.point.concurrency, j.energy) for j in judged]
    gross = Series("gross", tuple(Point(n, e.j_per_output_token if e else None) for n, e in energies))
    net = Series("net", tuple(Point(n, e.net_j_per_output_token if e else None) for n, e in energies))
    if is_known(gross):
        least, level = min((p.y, p.x) for p in gross.points if p.y is not None)
        title = f"lowest energy per output token: {number(least)} J at {level:g}"
        note = "GPUs only: without host, fans and losses of the power supply. Net: without idle power."
        lines = [one for one in (gross, net) if is_known(one)]
        found.append(level_figure(title, lines, axis("j_per_output_token"), judged, decision, note=note))
    return found


def _watts(j: EvaluatedLevel) -> float | None:
    if j.gpu is not None and j.gpu.power_w is not None:
        return j.gpu.power_w
    return None if j.energy is None else j.energy.mean_w


def _activity(name: str, get: Callable[[GpuUse], Spread | None], judged: Judged) -> Series:
    """Percent, with the least and the greatest GPU as ends where there are several."""

    def at(j: EvaluatedLevel) -> Point:
        found = None if j.gpu is None else get(j.gpu)
        if j.gpu is None or found is None:
            return Point(j.point.concurrency, None)
        ends = (100 * found.least, 100 * found.greatest) if len(j.gpu.uuids) > 1 else ()
        return Point(j.point.concurrency, 100 * found.mean, *ends)

    return Series(name, tuple(at(j) for j in judged))


_SHARES = (0.5, 0.9, 0.95, 0.99)


def distribution_figures(judgement: Judgement) -> list[Figure]:
    """TTFT, TPOT and E2E of the successful requests (docs/METHODS.md)."""
    return [_distribution(key, judgement) for key in ("ttft_s", "tpot_s", "e2e_s")]


def _distribution(key: str, judgement: Judgement) -> Figure:
    metric = METRICS[key]
    limits = [
        one for one in judgement.slo.limits if one.metric == key and one.stat != "mean"
    ]  # a mean has no place here
    samples: list[tuple[str, list[float]]] = []
    for level in judgement.measured:
        values: Any = level.each[key]
        samples.append((str(level.concurrency), sorted((values[np.isfinite(values)] * metric.scale).tolist())))
    title = f"{metric.label} is not known"
    if known := [(name, sample) for name, sample in samples if sample]:
        name, sample = known[-1]
        p50, p90 = (number(quantile(sample, share)) for share in (0.5, 0.9))
        title = f"{metric.label} at {name}: p50 {p50} {metric.shown}, p90 {p90} {metric.shown}"
    chart = ecdf_chart(
        samples, title=title, x_label=f"{metric.label} ({metric.shown})", unit=metric.shown, limits=limit_marks(limits)
    )
    head = ("concurrency", "n", *(f"p{round(share * 100)} {metric.shown}" for share in _SHARES), f"max {metric.shown}")
    return Figure(title, chart, head, [_quantile_row(name, sample) for name, sample in samples])


def _quantile_row(level: str, ascending: Sequence[float]) -> Row:
    n = len(ascending)
    if not n:
        return (level, "0", *[DASH] * (len(_SHARES) + 1))
    shown = [number(quantile(ascending, s)) if n * (1 - s) >= 10 or s == 0.5 else DASH for s in _SHARES]
    return (level, count(n), *shown, number(ascending[-1]))
