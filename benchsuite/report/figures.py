"""The figures of a report over the concurrency level: which values, under which finding. Pure functions of a judgement.

Every figure carries the table of what it draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchsuite.economics.optimum import stopped_level
from benchsuite.report import charts
from benchsuite.report.charts import Point, Series
from benchsuite.report.svg import SMALL, Frame
from benchsuite.report.titles import against, course, least, whole_percent
from benchsuite.report.words import limit_name, number, tail, usd
from benchsuite.results import Decision, Distribution, Judged
from benchsuite.slo import Slo

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart, the finding that is its title, and its values as a table.

    note: what it assumes, under it. narrow: the same chart for a narrow screen, where `svg` would be too small.
    """

    title: str
    svg: str
    head: Row = ()
    rows: tuple[Row, ...] = ()
    note: str = ""
    narrow: str = ""


def level_figures(judged: Sequence[Judged], decision: Decision, slo: Slo) -> list[Figure]:
    """TTFT, per-user throughput, cost where a price is known, TPOT and system output over the level."""
    return [
        ttft_figure(judged, decision, slo),
        throughput_figure(judged, decision, slo),
        *([run_cost_figure(judged, decision)] if priced(judged) else []),
        _latency("tpot", "TPOT", lambda j: j.point.tpot_s, judged, decision, slo),
        _latency("e2e", "E2E", lambda j: j.point.e2e_s, judged, decision, slo),
        output_figure(judged, decision, slo),
    ]


def picture(judged: Sequence[Judged], decision: Decision, frame: Frame = SMALL, *, slo: Slo | None = None) -> Figure:
    """The one chart beside the decision: what is made cheap, the duration of the run where no price is known.

    Where no level keeps the `slo`, what the nearest one misses.
    """
    if slo is not None and (missed := _missed(judged, decision, slo, frame)) is not None:
        return missed
    title = _choice(decision, judged)
    if priced(judged):
        return cost_figure(judged, decision, frame, title)
    title = title or least("the run is shortest", [(j, j.point.wall_s) for j in judged], lambda v: f"{number(v)} s")
    series = [level_series("wall time", judged, lambda j: j.point.wall_s, "wall_s")]
    return level_figure(title, series, "wall time (s)", judged, decision, frame=frame)


def _missed(judged: Sequence[Judged], decision: Decision, slo: Slo, frame: Frame) -> Figure | None:
    """The figure of the limit that the nearest level misses; None if a level is chosen, or it has no figure."""
    if decision.kind != "none" or decision.nearest is None or not decision.nearest.misses:
        return None
    missed = next((one for one in slo.limits if one.name == limit_name(decision.nearest.misses[0])), None)
    if missed is None or missed.metric not in ("ttft", "throughput"):
        return None
    return (ttft_figure if missed.metric == "ttft" else throughput_figure)(judged, decision, slo, frame)


def _choice(decision: Decision, judged: Sequence[Judged]) -> str:
    """'16 users cost least within the SLO; 32 would cost 5.6 % less but miss it'; '' where no level is chosen."""
    if decision.kind == "none":
        return ""
    choice = decision.choice
    level, own = choice.point.concurrency, choice.cost.usd_per_1m_output_tokens
    said = f"{level} user{'s' * (level > 1)} cost{'s' * (level == 1)} least within the SLO"
    stopped = stopped_level(choice, judged)
    other = None if stopped is None else stopped.cost.usd_per_1m_output_tokens
    if stopped is None or not own or not other or other >= own:
        return said
    return f"{said}; {stopped.point.concurrency} would cost {whole_percent(1 - other / own)} less but miss it"


def cost_figure(judged: Sequence[Judged], decision: Decision, frame: Frame = SMALL, title: str = "") -> Figure:
    """Dollars per million output tokens over the level."""
    costs = [(j, j.cost.usd_per_1m_output_tokens) for j in judged]
    name = "usd_per_1m_output_tokens"
    series = level_series("cost", judged, lambda j: j.cost.usd_per_1m_output_tokens, name)
    title = title or least("output costs least", costs, lambda v: f"{usd(v)} per 1M tokens")
    return level_figure(title, [series], "cost of output (USD per 1M tokens)", judged, decision, frame=frame)


def run_cost_figure(judged: Sequence[Judged], decision: Decision) -> Figure:
    """Dollars per run of the set over the level, the paper's cost."""
    costs = [(j, j.cost.cost_usd) for j in judged]
    series = level_series("cost", judged, lambda j: j.cost.cost_usd, "cost_usd")
    title = least("a run of the set costs least", costs, usd)
    return level_figure(title, [series], "cost of a run of the set (USD)", judged, decision)


def ttft_figure(judged: Sequence[Judged], decision: Decision, slo: Slo, frame: Frame = SMALL) -> Figure:
    """Mean time to first token, and the percentile that the SLO names or, where n supports it, the 95th."""
    return _latency("ttft", "TTFT", lambda j: j.point.ttft_s, judged, decision, slo, frame)


def _latency(
    metric: str,
    what: str,
    values: Callable[[Judged], Distribution],
    judged: Sequence[Judged],
    decision: Decision,
    slo: Slo,
    frame: Frame = SMALL,
) -> Figure:
    mean = level_series("mean", judged, lambda j: _ms(values(j).mean), f"{metric}_mean_s", 1000)
    limits = [limit for limit in slo.limits if limit.metric == metric]
    promised = next((limit.stat for limit in limits if limit.stat not in (None, "mean")), None)

    def high(j: Judged) -> float | None:
        """Of the percentile in the SLO what the level is judged by, else the 95th where n supports it."""
        return _ms(tail(values(j), "p95") if promised is None else values(j).stat(promised))

    stat = promised or "p95"
    tails = level_series(stat, judged, high, f"{metric}_{stat}_s", 1000)
    shown = [mean, *([tails] if any(p.y is not None for p in tails.points) else [])]
    title = against(what, limits, judged) or course(f"mean {what}", mean, "ms")
    marks = [charts.Limit(limit.value * 1000, str(limit)) for limit in limits]
    return level_figure(
        title, shown, f"{what} (ms)" if len(shown) > 1 else f"mean {what} (ms)", judged, decision, marks, frame
    )


def throughput_figure(judged: Sequence[Judged], decision: Decision, slo: Slo, frame: Frame = SMALL) -> Figure:
    """The paper's throughput: output tokens / (wall time x users)."""
    name = "throughput_paper_tok_s"
    series = level_series("per-user throughput", judged, lambda j: j.point.throughput_paper_tok_s, name)
    limits = [limit for limit in slo.limits if limit.metric == "throughput"]
    title = against("per-user throughput", limits, judged) or course("per-user throughput", series, "tok/s")
    marks = [charts.Limit(limit.value, str(limit)) for limit in limits]
    return level_figure(title, [series], "per-user throughput (tok/s)", judged, decision, marks, frame)


def output_figure(judged: Sequence[Judged], decision: Decision, slo: Slo) -> Figure:
    """Output tokens per second of the whole system."""
    series = level_series("output", judged, lambda j: j.point.output_tok_s, "output_tok_s")
    limits = [limit for limit in slo.limits if limit.metric == "output"]
    known = [(p.y, p.x) for p in series.points if p.y is not None]
    best = max(known, default=None)
    title = (
        "system output is not known" if best is None else f"system output peaks at {best[1]:g}: {number(best[0])} tok/s"
    )
    marks = [charts.Limit(limit.value, str(limit)) for limit in limits]
    return level_figure(title, [series], "system output (tok/s)", judged, decision, marks)


def level_figure(
    title: str,
    series: Sequence[Series],
    y_label: str,
    judged: Sequence[Judged],
    decision: Decision,
    limits: Sequence[charts.Limit] = (),
    frame: Frame = SMALL,
    *,
    zone: tuple[float, float] | None = None,
    note: str = "",
) -> Figure:
    """A figure over the levels of one curve, with its optimum and the levels that miss the SLO."""
    title = title[:1].upper() + title[1:]
    chart = charts.level_chart(
        series,
        title=title,
        y_label=y_label,
        limits=limits,
        infeasible=[j.point.concurrency for j in judged if not j.meets_slo],
        optimum=decision.recommended.point.concurrency if decision.kind == "optimum" else None,
        mark=mark_of(decision),
        zone=zone,
        frame=frame,
    )
    head, rows = series_table(series, y_label)
    return Figure(title, chart, head, rows, note)


def mark_of(decision: Decision) -> str:
    """What the marked level is called: the safer one where the cheapest is not sure."""
    safer = decision.kind == "optimum" and decision.recommended is not decision.choice
    return "recommended" if safer else "optimum"


def series_table(series: Sequence[Series], y_label: str) -> tuple[Row, tuple[Row, ...]]:
    """The values of lines over the level: head and rows, with the ends of intervals where any is known."""
    lines = [one for one in series if not one.dashed]
    with_ends = any(p.low is not None for one in lines for p in one.points)
    head = ["users"]
    for one in lines:
        head.append(y_label if len(lines) == 1 else f"{one.name}, {y_label}")
        head += ["95 % from", "to"] if with_ends else []
    levels = sorted({p.x for one in lines for p in one.points})
    rows = []
    for level in levels:
        cells = [f"{level:g}"]
        for one in lines:
            found = next((p for p in one.points if p.x == level), Point(level, None))
            cells.append(number(found.y))
            cells += [number(found.low), number(found.high)] if with_ends else []
        rows.append(tuple(cells))
    return tuple(head), tuple(rows)


def level_series(
    name: str, judged: Sequence[Judged], value: Callable[[Judged], float | None], figure: str = "", scale: float = 1.0
) -> Series:
    """A point a level; `figure` names its interval in `Judged.intervals`, in units of 1 / scale.

    An interval that does not hold the value shown is left out: it is of the steady window alone, the value of all.
    """

    def at(j: Judged) -> Point:
        found, shown = j.intervals.get(figure), value(j)
        if found is None or found.low is None or found.high is None or shown is None:
            return Point(j.point.concurrency, shown)
        low, high = found.low * scale, found.high * scale
        return (
            Point(j.point.concurrency, shown, low, high) if low <= shown <= high else Point(j.point.concurrency, shown)
        )

    return Series(name, tuple(at(j) for j in judged))


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else value_s * 1000


def priced(judged: Sequence[Judged]) -> bool:
    """True if any level's tokens have a price."""
    return any(j.cost.usd_per_1m_output_tokens is not None for j in judged)
