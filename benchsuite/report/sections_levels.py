"""The parts of a page, and its charts over the level: each metric, GPUs and energy, distributions. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchsuite.economics.decision import JudgedLevels, stopped_level
from benchsuite.level import Level, LevelKind
from benchsuite.metrics import BY_COLUMN, CONFIDENCE, METRICS, Statistic
from benchsuite.report import charts
from benchsuite.report import format as fmt
from benchsuite.report.charts import SMALL, Frame, Point, Series
from benchsuite.report.charts_special import Dots, dot_chart
from benchsuite.report.format import sentence
from benchsuite.report.judge import Judgement
from benchsuite.report.level_tables import ANY_KERNEL, Row
from benchsuite.results import Decision, EvaluatedLevel, Spread
from benchsuite.slo import Limit

Judged = Sequence[EvaluatedLevel]


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart, the finding that is its title, and its values as a table.

    note: what it assumes, under it. narrow: the same chart for a narrow screen, where `svg` would be too small. left:
    columns of text, from 0, -1 the last.
    """

    title: str
    svg: str
    head: Row
    rows: Sequence[Row]
    note: str = ""
    narrow: str = ""
    left: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """name: of its CSV. left, note: as of a Figure. marks: of each row 'chosen', 'misses' or ''."""

    name: str
    head: Row
    rows: Sequence[Row]
    title: str = ""
    left: tuple[int, ...] = ()
    marks: Sequence[str] = ()
    note: str = ""
    folded: bool = False  # until its title is clicked


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: its address, its name in the list of links, and its contents, in this order.

    title: above it, where that is not the name. What is None in the lists is left out.
    """

    anchor: str
    link: str
    title: str = ""
    text: str = ""
    figures: Sequence[Figure | None] = ()
    items: Sequence[str] = ()
    tables: Sequence[Table | None] = ()
    legend: Sequence[tuple[str, str]] = ()  # a name and its mark
    columns: Literal["", "two", "full"] = ""
    more: bool = False  # behind "More"


def whole_percent(ratio: float) -> str:
    """A share for a sentence: '34 %', which no line break parts."""
    return f"{100 * ratio:.0f}\u00a0%"


def mark_rows(judgement: JudgedLevels) -> list[str]:
    best = judgement.best
    return ["chosen" if j is best else "misses" if j.slo_verdict == "not met" else "" for j in judgement.judged]


def axis(column: str, *, stat: bool = True) -> str:
    """The label of a metric's axis: 'TTFT mean (ms)', 'tok/s/user'. stat: with the statistic."""
    metric = BY_COLUMN[column].metric
    name = f"{metric.label} {BY_COLUMN[column].stat}" if stat and metric.per_request else metric.label
    return f"{name} ({metric.shown})" if metric.shown else name


def level_series(judged: Judged, column: str, name: str = "", *, any_n: bool = False) -> Series:
    """A point a level in the unit that tables show, with its interval.

    An interval that does not contain the shown value is left out: it is of the steady window alone, the value of all.
    any_n: also a percentile that few requests support.
    """
    one = BY_COLUMN[column]
    several = fmt.has_intervals(judged)  # over runs: an interval within the only run of a level is no such one
    points = []
    for j in judged:
        value, scale, ends = one.of(j), one.metric.scale, fmt.known_ends(j.intervals.get(column))
        if one.stat in ("p95", "p99") and not any_n and not fmt.is_judged(j, column):
            value = fmt.tail(j.point.distributions[one.metric.key], one.stat)
        shown = None if value is None else value * scale
        if ends and value is not None and ends[0] <= value <= ends[1] and not (several and j.point.repeat_count == 1):
            points.append(Point(j.point.level.number, shown, ends[0] * scale, ends[1] * scale))
        else:
            points.append(Point(j.point.level.number, shown))
    return Series(name or one.stat or one.metric.label, tuple(points), kind=kind_of(j.point.level for j in judged))


def plain_series(name: str, values: Iterable[tuple[Level, float | None]], scale: float = 1.0) -> Series:
    """A point a level, without intervals."""
    known = list(values)
    points = tuple(Point(level.number, None if y is None else y * scale) for level, y in known)
    return Series(name, points, kind=kind_of(level for level, _ in known))


def kind_of(levels: Iterable[Level]) -> LevelKind:
    """What levels of one run hold constant."""
    return next((level.kind for level in levels), "concurrency")


_STEADY = 0.05  # of the greatest value: less is no trend


def trend(name: str, series: Series, unit: str = "") -> str:
    """'mean TPOT rises from 10.0 ms at concurrency 2 to 30.0 ms at 8'."""

    def shown(value: float) -> str:
        return f"{fmt.number(value)} {unit}".strip()

    values = [value for _, value in series.known]
    if not values:
        return f"{name} is not known"
    (low, first), (high, last), least, most = series.known[0], series.known[-1], min(values), max(values)
    if len(values) == 1:
        return f"{name} is {shown(first)} at {Level(low.x, series.kind).at}"
    if most - least <= _STEADY * abs(most):
        return f"{name} is {'' if shown(least) == shown(most) else 'about '}{shown(last)} at every level"
    if abs(last - first) <= _STEADY * abs(most):
        return f"{name} is between {shown(least)} and {shown(most)}"
    verb = "rises" if last > first else "falls"
    return f"{name} {verb} from {shown(first)} at {Level(low.x, series.kind).at} to {shown(last)} at {high.x:g}"


def limit_title(limits: Sequence[Limit], judged: Judged) -> str:
    """'ttft_mean < 1 s is violated from 16 up': the levels against the first limit. '' without a limit or a value."""
    limit = next(iter(limits), None)
    verdicts = {j.point.level: c.verdict for j in judged for c in j.limits if c.limit == limit}
    if set(verdicts.values()) <= {"unknown"}:
        return ""
    if set(verdicts.values()) == {"met"}:
        return f"{limit} holds at every level"
    parts: list[str] = []
    for verdict in ("not met", "undecided"):
        levels = [level for level, one in verdicts.items() if one == verdict]
        word = "is violated" if verdict == "not met" else "undecided" if parts else "is undecided"
        if len(levels) == len(verdicts):
            parts.append(f"{word} at every level")
        elif len(levels) > 1 and all(level in levels for level in verdicts if level >= levels[0]):
            parts.append(f"{word} from {levels[0]} up")
        elif levels:
            parts.append(f"{word} at {', '.join(map(str, levels))}")
    return f"{limit} {' and '.join(parts or ['holds at every known level'])}"


def _best(column: str, judged: Judged) -> str:
    """'$/1M out is lowest at concurrency 32: $0.0180'."""
    one = BY_COLUMN[column]
    values = [(value, j.point.level) for j in judged if (value := one.of(j)) is not None]
    if not values:
        return f"{one.metric.label} is not known"
    value, level = min(values) if one.metric.better == "less" else max(values)
    word = "lowest" if one.metric.better == "less" else "highest"
    return f"{one.metric.label} is {word} at {level.at}: {fmt.show(one.metric, value)}"


def limit_marks(limits: Sequence[Limit]) -> list[charts.Limit]:
    """Their lines in a chart of their metric: 'p95 < 1 s'."""
    heights = [limit.value * METRICS[limit.metric].scale for limit in limits]
    names = (f"{limit.stat or ''} {limit.op} {limit.show(limit.value)}".strip() for limit in limits)
    return list(map(charts.Limit, heights, names))


_METRICS = (
    "usd_per_1m_output_tokens", "ttft_mean_s", "output_tok_s_per_user", "output_tok_s", "goodput_per_s", "tpot_mean_s",
    "e2e_mean_s",
)  # fmt: skip


def level_figures(judgement: JudgedLevels) -> list[Figure]:
    """A figure for each metric that any level knows and that `picture` does not show; first those of the SLO."""
    limited = {limit.metric for limit in judgement.slo.limits}
    known = [c for c in _METRICS if any(BY_COLUMN[c].of(j) is not None for j in judgement.judged)]
    known.sort(key=lambda column: BY_COLUMN[column].metric.key not in limited)
    pictured = BY_COLUMN[_pictured(judgement)[0]].metric
    return [metric_figure(column, judgement) for column in known if BY_COLUMN[column].metric != pictured]


def metric_figure(column: str, judgement: JudgedLevels, title: str = "", frame: Frame = SMALL) -> Figure:
    """A metric over the level with its limits. Of a latency's mean also the percentile in the SLO, else the 95th."""
    metric, judged = BY_COLUMN[column].metric, judgement.judged
    limits = [limit for limit in judgement.slo.limits if limit.metric == metric.key]
    series = [means := level_series(judged, column)]
    if metric.per_request:
        promised = next((limit.stat for limit in limits if limit.stat not in (None, "mean")), None)
        high = level_series(judged, Statistic(metric, promised or "p95").column, any_n=promised is not None)
        series += [high] * bool(high.known)
        if promised is not None:  # the statistic that the limit is on comes first
            series.reverse()
    title = title or limit_title(limits, judged)
    if not title and metric.with_users is not None:
        title = trend(f"mean {metric.label}" if metric.per_request else metric.label, means, metric.shown)
    label = axis(column, stat=len(series) == 1)
    return level_figure(title or _best(column, judged), series, label, judgement, limit_marks(limits), frame=frame)


def picture(judgement: JudgedLevels, frame: Frame = SMALL) -> Figure:
    """The chart next to the decision."""
    column, title = _pictured(judgement)
    return metric_figure(column, judgement, title, frame)


def _pictured(judgement: JudgedLevels) -> tuple[str, str]:
    """What is minimised; where no level meets the SLO, the limit nearest to be met. And the title, if not its own."""
    decision = judgement.decision
    if decision.kind == "none" and decision.nearest is not None:
        missed = decision.nearest.checks("not met") + decision.nearest.checks("undecided")
        limit = next((check.limit for check in missed if check.asked), None)
        if limit is not None:
            metric = METRICS[limit.metric]
            mean = Statistic(metric, "mean" if metric.per_request else None)
            return mean.column, ""
    column = "usd_per_1m_output_tokens"
    if all(BY_COLUMN[column].of(j) is None for j in judgement.judged):
        if any(j.point.probed for j in judgement.judged):
            return "output_tok_s", ""
        column = "duration_s"
    return column, _choice_title(column, judgement)


def _choice_title(column: str, judgement: JudgedLevels) -> str:
    """'16 has the lowest $/1M out within the SLO; 32 would cost 5 % less but violates it'; '' without a choice."""
    decision = judgement.decision
    if decision.kind == "none":
        return ""
    has = "has" if decision.choice.slo_verdict == "met" else "looks to have"
    name = BY_COLUMN[column].metric.label
    title = f"{decision.choice.point.level.at} {has} the lowest {name} within the SLO"
    if decision.p_good is not None:
        title = f"{decision.choice.point.level.at} is the search's answer: next to the lowest {name} within the SLO"
    stopped = stopped_level(decision.choice, judgement.judged)
    cost, lower = (None if j is None else j.cost.usd_per_1m_output_tokens for j in (decision.choice, stopped))
    if stopped is None or not cost or not lower or lower >= cost:
        return title
    why = "violates it" if stopped.slo_verdict == "not met" else f"that is {stopped.slo_verdict}"
    return f"{title}; {stopped.point.level} would cost {whole_percent(1 - lower / cost)} less but {why}"


def _mark(decision: Decision) -> str:
    """As the sentence of the decision says it."""
    if decision.kind == "optimum" and decision.p_good is not None:
        return "answer {:g}"
    if decision.kind == "none" or decision.verdict != "met" or not decision.p_by_level:
        return "{:g} looks best"
    return "optimum {:g}" if decision.recommended is decision.choice else "recommended {:g}"


def level_figure(
    title: str,
    series: Sequence[Series],
    y_label: str,
    judgement: JudgedLevels,
    limits: Sequence[charts.Limit] = (),
    *,
    note: str = "",
    frame: Frame = SMALL,
) -> Figure:
    """A figure over the levels of one run, with its optimum and the levels that violate the SLO."""
    title, best, decision = fmt.sentence(title)[:-1], judgement.best, judgement.decision
    chart = charts.level_chart(
        series,
        title=title,
        y_label=y_label,
        limits=limits,
        infeasible=[j.point.level.number for j in judgement.judged if j.slo_verdict == "not met"],
        optimum=None if best is None else best.point.level.number,
        mark=_mark(decision),
        frame=frame,
    )
    return Figure(title, chart, *series_table(series, y_label), note)


def search_figure(judgement: Judgement) -> Figure | None:
    """The least margin over the level, of the last probe at each; None of a sweep."""
    probes = judgement.facts.manifest.probes
    known = {
        probe.level: min(value for value, _ in probe.margins.values())
        for _, probe in probes
        if probe.margins and not probe.failed
    }
    if not known:
        return None
    kind = kind_of(j.point.level for j in judgement.judged)
    missed = [level for level, value in sorted(known.items()) if value < 0]
    kept = [level for level, value in known.items() if value > 0 and (not missed or level < missed[0])]
    title = "no probe missed a limit" if not missed else f"the limit is missed from {Level(missed[0], kind).at}"
    if missed and kept:
        title = f"the limit is kept up to {Level(max(kept), kind).at}, and missed from {Level(missed[0], kind)}"
    values = ((Level(level, kind), 100 * math.expm1(min(known[level], 1.0))) for level in sorted(known))
    return level_figure(title, [plain_series("margin", values)], "least margin (%)", judgement)


def series_table(series: Sequence[Series], y_label: str) -> tuple[Row, list[Row]]:
    """The values of lines over the level: head and rows, with the ends of intervals where any is known."""
    lines = [one for one in series if not one.dashed]
    with_ends = any(p.low is not None for one in lines for p in one.points)
    heads = ["rate" if any(one.kind == "rate" for one in lines) else "concurrency"]
    for one in lines:
        heads += [y_label if len(lines) == 1 else f"{one.name}, {y_label}", *[f"{CONFIDENCE} from", "to"] * with_ends]
    rows = []
    for level in sorted({p.x for one in lines for p in one.points}):
        points = [next((p for p in one.points if p.x == level), Point(level, None)) for one in lines]
        values = ((p.y, p.low, p.high) if with_ends else (p.y,) for p in points)
        rows.append((f"{level:g}", *(fmt.number(value) for of_line in values for value in of_line)))
    return tuple(heads), rows


# by section: what is drawn, its unit and scale, of which part of a level, and of each line its name and field; a note
_USE: dict[str, tuple[tuple[str, str, float, str, dict[str, str], str], ...]] = {
    "gpu": (
        ("GPU activity", "%", 100.0, "gpu", {"util": "util_ratio", "SM": "sm_active_ratio",
                                             "tensor": "tensor_active_ratio", "DRAM": "dram_active_ratio"},
         sentence(ANY_KERNEL)),
        ("power of all GPUs", "W", 1.0, "energy", {"power": "mean_w"}, ""),
        ("energy per output token", "J", 1.0, "energy", {"gross": "j_per_output_token",
                                                         "net": "net_j_per_output_token"},
         "GPUs only: without host, fans and losses of the power supply. Net: without idle power."),
    ),
    "server": (
        ("requests in the server", "", 1.0, "server", {"running": "running_mean", "waiting": "waiting_mean"}, ""),
        ("KV cache usage", "%", 100.0, "server", {"mean": "kv_cache_mean_ratio", "max": "kv_cache_max_ratio"}, ""),
    ),
}  # fmt: skip


def quality_figure(levels: Mapping[str, EvaluatedLevel]) -> Figure | None:
    """The scores of each scenario with their intervals. levels: by the name that they have in the chart."""
    scored = {name: {one.scenario or "all": one.score for one in level.quality.scenarios}
              for name, level in levels.items() if level.quality is not None}  # fmt: skip
    names = list(dict.fromkeys(scenario for scores in scored.values() for scenario in scores))
    if not names:
        return None
    series: dict[str, Dots] = {}
    for name, scores in scored.items():
        found = [scores.get(scenario) for scenario in names]
        series[name] = [
            None if one is None or one.value is None or one.low is None or one.high is None
            else (one.value, one.low, one.high) for one in found
        ]  # fmt: skip
    title = "Score by scenario" + (f" at {next(iter(scored))}" if len(scored) == 1 else "")
    heads = ("scenario", *scored)
    rows = [(s, *(fmt.estimate_text(of.get(s), fmt.percent) for of in scored.values())) for s in names]
    note = f"With {CONFIDENCE} intervals over items. Failed and unread answers count as 0."
    wide, narrow = (dot_chart(names, series, title=title, label="score", width=width) for width in (560, 380))
    return Figure(title, wide, heads, rows, note, narrow, left=(0,))


def use_figures(judgement: Judgement, section: str) -> list[Figure]:
    """What the GPUs, or the server, did at each level, as far as that was measured."""
    server, found = {one.level: one for one in judgement.server_use}, []
    parts = [(j.point.level, {"gpu": j.gpu, "energy": j.energy, "server": server.get(j.point.level)})
             for j in judgement.judged]  # fmt: skip
    for what, unit, scale, of, fields, note in _USE[section]:
        lines = []
        for name, field in fields.items():
            values = ((level, getattr(part[of], field, None)) for level, part in parts)
            means = ((level, value.mean if isinstance(value, Spread) else value) for level, value in values)
            lines.append(plain_series(name, means, scale))
        lines = [line for line in lines if line.known]
        if any(value for line in lines for _, value in line.known):
            title = trend(f"{what} ({lines[-1].name})" if len(lines) > 1 else what, lines[-1], unit)
            if lines[-1].name == "waiting":
                queued = [p.x for p, value in lines[-1].known if value >= 1]
                at = Level(queued[0], lines[-1].kind).at if queued else ""
                waits = f"requests queue in the server from {at} up" if queued else ""
                title = waits or "no request waits in the server at any level"
            label = f"{what} ({unit})" if unit else what
            found.append(level_figure(title, lines, label, judgement, note=note))
    return found


def distribution_figures(judgement: Judgement) -> list[Figure]:
    """TTFT, TPOT and E2E of the successful requests (docs/METHODS.md)."""
    found, head = [], fmt.level_head(j.point.level for j in judgement.judged)
    for metric in (METRICS[key] for key in ("ttft_s", "tpot_s", "e2e_s")):
        columns = [Statistic(metric, stat).column for stat in ("p50", "p90", "p95", "p99", "max")]
        rows = []
        for j in judgement.judged:
            n = fmt.count(j.point.distributions[metric.key].n)
            rows.append((str(j.point.level), n, *(fmt.cell(j, column) for column in columns)))
        title = f"{metric.label} is not known"
        if known := [row for row in rows if row[2] != fmt.DASH]:
            last, _, median, *_, most = known[-1]
            half = f"half of the requests within {median} {metric.shown}"
            at = next(j.point.level.at for j in judgement.judged if str(j.point.level) == last)
            title = f"{metric.label} at {at}: {half}, the slowest {most} {metric.shown}"
        samples = [(str(one.level), one.each[metric.key] * metric.scale) for one in judgement.measured]
        # a mean has no place on this axis
        marks = limit_marks([one for one in judgement.slo.limits if one.metric == metric.key and one.stat != "mean"])
        label = f"{metric.label} ({metric.shown})"
        chart = charts.ecdf_chart(samples, title=title, x_label=label, unit=metric.shown, limits=marks)
        found.append(Figure(title, chart, (head, "n", *map(fmt.head, columns)), rows))
    return found
