"""ECDFs of TTFT, TPOT and E2E, a curve per level. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchsuite.economics.decision import measured, stopped_level
from benchsuite.report import charts
from benchsuite.report.charts import SMALL, Frame, Point, Series, ecdf_chart, quantile
from benchsuite.report.format import DASH, count, limit_name, number, tail, usd
from benchsuite.report.judge import Judgement
from benchsuite.results import Decision, Distribution, EvaluatedLevel, GpuUse, Spread
from benchsuite.slo import Limit, Slo


def whole_percent(ratio: float) -> str:
    """A share for a sentence: '34 %', which no line break parts."""
    return f"{100 * ratio:.0f}\u00a0%"


def least(said: str, values: Sequence[tuple[EvaluatedLevel, float | None]], show: Callable[[float], str]) -> str:
    """'output costs least at 32: $0.0180 per 1M tokens'."""
    known = [(value, j.point.concurrency) for j, value in values if value is not None]
    if not known:
        return f"where {said} is not known"
    value, level = min(known)
    return f"{said} at {level}: {show(value)}"


def against(what: str, limits: Sequence[Limit], judged: Sequence[EvaluatedLevel]) -> str | None:
    """'TTFT keeps ttft_mean < 1 s up to 16': how the levels stand to the first limit. None without a limit."""
    if not limits or not judged:
        return None
    limit = limits[0]
    values = [(j.point.concurrency, measured(j.point, limit)) for j in judged]
    if all(value is None for _, value in values):
        return None
    missing = [level for level, value in values if value is not None and not limit.holds(value)]
    if not missing:
        unknown = any(value is None for _, value in values)
        return f"{what} keeps {limit} at every {'known ' * unknown}level"
    if len(missing) == len(values):
        return f"{what} misses {limit} at every level"
    if len(missing) > 1 and all(level in missing for level, _ in values if level >= missing[0]):
        return f"{what} misses {limit} from {missing[0]} up"
    return f"{what} misses {limit} at {', '.join(str(level) for level in missing)}"


def course(what: str, series: Series, unit: str) -> str:
    """'mean TPOT goes from 10.0 ms at 2 to 30.0 ms at 8'."""
    known = [p for p in series.points if p.y is not None]
    if not known:
        return f"{what} is not known"
    first, last = known[0], known[-1]
    if first is last:
        return f"{what} at {first.x:g}: {number(first.y)} {unit}"
    if len({number(p.y) for p in known}) == 1:
        return f"{what} stays at {number(first.y)} {unit}"
    return f"{what} goes from {number(first.y)} {unit} at {first.x:g} to {number(last.y)} {unit} at {last.x:g}"


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


def level_figures(judged: Sequence[EvaluatedLevel], decision: Decision, slo: Slo) -> list[Figure]:
    """TTFT, per-user throughput, cost where a price is known, TPOT and system output over the level."""
    return [
        ttft_figure(judged, decision, slo),
        throughput_figure(judged, decision, slo),
        *([run_cost_figure(judged, decision)] if priced(judged) else []),
        _latency("tpot", "TPOT", lambda j: j.point.tpot_s, judged, decision, slo),
        _latency("e2e", "E2E", lambda j: j.point.e2e_s, judged, decision, slo),
        output_figure(judged, decision, slo),
    ]


def picture(
    judged: Sequence[EvaluatedLevel], decision: Decision, frame: Frame = SMALL, *, slo: Slo | None = None
) -> Figure:
    """The one chart beside the decision: what is made cheap, the duration of the run where no price is known.

    Where no level keeps the `slo`, what the nearest one misses.
    """
    if slo is not None and (missed := _missed(judged, decision, slo, frame)) is not None:
        return missed
    title = _choice(decision, judged)
    if priced(judged):
        return cost_figure(judged, decision, frame, title)
    title = title or least("the run is shortest", [(j, j.point.duration_s) for j in judged], lambda v: f"{number(v)} s")
    series = [level_series("wall time", judged, lambda j: j.point.duration_s, "duration_s")]
    return level_figure(title, series, "wall time (s)", judged, decision, frame=frame)


def _missed(judged: Sequence[EvaluatedLevel], decision: Decision, slo: Slo, frame: Frame) -> Figure | None:
    """The figure of the limit that the nearest level misses; None if a level is chosen, or it has no figure."""
    if decision.kind != "none" or decision.nearest is None or not decision.nearest.misses:
        return None
    missed = next((one for one in slo.limits if one.name == limit_name(decision.nearest.misses[0])), None)
    if missed is None or missed.metric not in ("ttft_s", "output_tok_s_per_user"):
        return None
    return (ttft_figure if missed.metric == "ttft_s" else throughput_figure)(judged, decision, slo, frame)


def _choice(decision: Decision, judged: Sequence[EvaluatedLevel]) -> str:
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


def cost_figure(judged: Sequence[EvaluatedLevel], decision: Decision, frame: Frame = SMALL, title: str = "") -> Figure:
    """Dollars per million output tokens over the level."""
    costs = [(j, j.cost.usd_per_1m_output_tokens) for j in judged]
    name = "usd_per_1m_output_tokens"
    series = level_series("cost", judged, lambda j: j.cost.usd_per_1m_output_tokens, name)
    title = title or least("output costs least", costs, lambda v: f"{usd(v)} per 1M tokens")
    return level_figure(title, [series], "cost of output (USD per 1M tokens)", judged, decision, frame=frame)


def run_cost_figure(judged: Sequence[EvaluatedLevel], decision: Decision) -> Figure:
    """Dollars per run of the set over the level, the paper's cost."""
    costs = [(j, j.cost.cost_usd) for j in judged]
    series = level_series("cost", judged, lambda j: j.cost.cost_usd, "cost_usd")
    title = least("a run of the set costs least", costs, usd)
    return level_figure(title, [series], "cost of a run of the set (USD)", judged, decision)


def ttft_figure(judged: Sequence[EvaluatedLevel], decision: Decision, slo: Slo, frame: Frame = SMALL) -> Figure:
    """Mean time to first token, and the percentile that the SLO names or, where n supports it, the 95th."""
    return _latency("ttft", "TTFT", lambda j: j.point.ttft_s, judged, decision, slo, frame)


def _latency(
    metric: str,
    what: str,
    values: Callable[[EvaluatedLevel], Distribution],
    judged: Sequence[EvaluatedLevel],
    decision: Decision,
    slo: Slo,
    frame: Frame = SMALL,
) -> Figure:
    mean = level_series("mean", judged, lambda j: _ms(values(j).mean), f"{metric}_mean_s", 1000)
    limits = [limit for limit in slo.limits if limit.metric == f"{metric}_s"]
    promised = next((limit.stat for limit in limits if limit.stat not in (None, "mean")), None)

    def high(j: EvaluatedLevel) -> float | None:
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


def throughput_figure(judged: Sequence[EvaluatedLevel], decision: Decision, slo: Slo, frame: Frame = SMALL) -> Figure:
    """The paper's throughput: output tokens / (wall time x users)."""
    name = "output_tok_s_per_user"
    series = level_series("per-user throughput", judged, lambda j: j.point.output_tok_s_per_user, name)
    limits = [limit for limit in slo.limits if limit.metric == "output_tok_s_per_user"]
    title = against("per-user throughput", limits, judged) or course("per-user throughput", series, "tok/s")
    marks = [charts.Limit(limit.value, str(limit)) for limit in limits]
    return level_figure(title, [series], "per-user throughput (tok/s)", judged, decision, marks, frame)


def output_figure(judged: Sequence[EvaluatedLevel], decision: Decision, slo: Slo) -> Figure:
    """Output tokens per second of the whole system."""
    series = level_series("output", judged, lambda j: j.point.output_tok_s, "output_tok_s")
    limits = [limit for limit in slo.limits if limit.metric == "output_tok_s"]
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
    judged: Sequence[EvaluatedLevel],
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
    head = ["concurrency"]
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
    name: str,
    judged: Sequence[EvaluatedLevel],
    value: Callable[[EvaluatedLevel], float | None],
    figure: str = "",
    scale: float = 1.0,
) -> Series:
    """A point a level; `figure` names its interval in `EvaluatedLevel.intervals`, in units of 1 / scale.

    An interval that does not hold the value shown is left out: it is of the steady window alone, the value of all.
    """

    def at(j: EvaluatedLevel) -> Point:
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


def priced(judged: Sequence[EvaluatedLevel]) -> bool:
    """True if any level's tokens have a price."""
    return any(j.cost.usd_per_1m_output_tokens is not None for j in judged)


_ACTIVITY: tuple[tuple[str, Callable[[GpuUse], Spread | None]], ...] = (
    ("any kernel", lambda use: use.util_ratio),
    ("SM", lambda use: use.sm_active_ratio),
    ("tensor", lambda use: use.tensor_active_ratio),
    ("DRAM", lambda use: use.dram_active_ratio),
)


def gpu_figures(judged: Sequence[EvaluatedLevel], decision: Decision) -> list[Figure]:
    """Activity, power and energy per token; [] where nothing was measured."""
    found = []
    series = [one for name, get in _ACTIVITY if (one := _activity(name, get, judged)) is not None]
    if series:
        title = course("GPU use (any kernel running)", series[0], "%") if series[0].name == "any kernel" else "GPU use"
        note = "Any kernel running is the driver's utilisation: near 100 % already at few users, so no measure of room."
        found.append(level_figure(title, series, "GPU activity (%)", judged, decision, note=note))
    watts = _series("power", judged, lambda j: _watts(j))
    if any(p.y is not None for p in watts.points):
        found.append(level_figure(course("GPU power", watts, "W"), [watts], "power of all GPUs (W)", judged, decision))
    joules = _series("gross", judged, lambda j: None if j.energy is None else j.energy.j_per_output_token)
    net = _series("above idle", judged, lambda j: None if j.energy is None else j.energy.net_j_per_output_token)
    if any(p.y is not None for p in joules.points):
        title = least(
            "a token takes the least energy", [(j, p.y) for j, p in zip(judged, joules.points, strict=True)], _joule
        )
        shown = [joules, *([net] if any(p.y is not None for p in net.points) else [])]
        note = "GPUs only: host, fans and losses of the power supply are not in it."
        found.append(level_figure(title, shown, "energy (J per output token)", judged, decision, note=note))
    return found


def _joule(value: float) -> str:
    return f"{number(value)} J"


def _watts(j: EvaluatedLevel) -> float | None:
    if j.gpu is not None and j.gpu.power_w is not None:
        return j.gpu.power_w
    return None if j.energy is None else j.energy.mean_w


def _series(name: str, judged: Sequence[EvaluatedLevel], value: Callable[[EvaluatedLevel], float | None]) -> Series:
    return Series(name, tuple(Point(j.point.concurrency, value(j)) for j in judged))


def _activity(name: str, get: Callable[[GpuUse], Spread | None], judged: Sequence[EvaluatedLevel]) -> Series | None:
    """Percent, with the least and the greatest GPU as ends where there are several. None if no level knows it."""

    def at(j: EvaluatedLevel) -> Point:
        found = None if j.gpu is None else get(j.gpu)
        if found is None:
            return Point(j.point.concurrency, None)
        if j.gpu is not None and len(j.gpu.uuids) > 1:
            return Point(j.point.concurrency, 100 * found.mean, 100 * found.least, 100 * found.greatest)
        return Point(j.point.concurrency, 100 * found.mean)

    series = Series(name, tuple(at(j) for j in judged))
    return series if any(p.y is not None for p in series.points) else None


_SHARES = (0.5, 0.9, 0.95, 0.99)
Samples = Sequence[tuple[str, Sequence[float]]]


def distribution_figures(judgement: Judgement) -> list[Figure]:
    """Of the requests that ended well (docs/METHODS.md)."""
    names, slo = [str(level.concurrency) for level in judgement.measured], judgement.slo
    samples = [
        [_finite_ms(values) for values in (level.each["ttft_s"], level.each["tpot_s"], level.each["e2e_s"])]
        for level in judgement.measured
    ]
    return [
        _distribution(metric, what, [(name, one[i]) for name, one in zip(names, samples, strict=True)], slo)
        for i, (metric, what) in enumerate((("ttft", "TTFT"), ("tpot", "TPOT"), ("e2e", "E2E")))
    ]


def _finite_ms(values_s: Any) -> list[float]:
    return [float(value) * 1000 for value in values_s[np.isfinite(values_s)]]


def _distribution(metric: str, what: str, values: Samples, slo: Slo) -> Figure:
    marks = [
        charts.Limit(limit.value * 1000, str(limit))
        for limit in slo.limits
        if limit.metric == f"{metric}_s" and limit.stat != "mean"  # a mean is no place on this axis
    ]
    title = _spread(what, values)
    chart = ecdf_chart(values, title=title, x_label=f"{what} (ms)", limits=marks)
    head = ("concurrency", "n", *(f"p{round(share * 100)} ms" for share in _SHARES), "max ms")
    return Figure(title, chart, head, tuple(_row(name, sorted(sample)) for name, sample in values))


def _row(name: str, ascending: Sequence[float]) -> Row:
    n = len(ascending)
    if not n:
        return (name, "0", *[DASH] * (len(_SHARES) + 1))
    shown = [number(quantile(ascending, s)) if n * (1 - s) >= 10 or s == 0.5 else DASH for s in _SHARES]
    return (name, count(n), *shown, number(ascending[-1]))


def _spread(what: str, values: Samples) -> str:
    """How far apart the middle and the slow end lie at the highest level that has values."""
    known = [(level, sorted(sample)) for level, sample in values if len(sample)]
    if not known:
        return f"{what} is not known"
    level, sample = known[-1]
    half, slow = quantile(sample, 0.5), quantile(sample, 0.9)
    return f"{what} at {level}: half within {number(half)} ms, nine in ten within {number(slow)} ms"
