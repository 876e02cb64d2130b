"""Charts of one purpose: a point over time, the Pareto frontier. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchsuite.economics.pareto import ParetoPoint
from benchsuite.report import charts
from benchsuite.report.charts import Box, Frame, Scale
from benchsuite.report.format import number, usd

PANEL, GAP, HEAD, FOOT = 78.0, 36.0, 30.0, 44.0
WIDE, NARROW = 1080.0, 380.0


@dataclass(frozen=True, slots=True)
class Trace:
    """One quantity over time. at_s ascending; None: not known then. step: it holds until the next value."""

    name: str
    at_s: Sequence[float]
    values: Sequence[float | None]
    step: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Quantities that share an upright axis, whose top is at least `top`."""

    label: str
    traces: tuple[Trace, ...]
    top: float = 0.0


def timeline_chart(
    panels: Sequence[Panel], *, title: str, end_s: float, steady: tuple[float, float] | None = None, width: float = WIDE
) -> str:
    """Panels under each other over the seconds from 0 to end_s. steady: shaded as the steady window."""
    height = HEAD + len(panels) * (PANEL + GAP) + FOOT - GAP
    frame = Frame(width, height, 54, 14, HEAD, FOOT)
    if not panels or end_s <= 0:
        return charts.empty(title, frame, "nothing was recorded")
    x = Scale(0.0, end_s, frame.left, frame.right)
    body = []
    if steady is not None:
        left, right = x.at(max(steady[0], x.low)), x.at(min(steady[1], x.high))
        body.append(charts.rect(left, frame.top, right, frame.bottom, 'class="zone"'))
    for k, panel in enumerate(panels):
        body += _panel(panel, x, HEAD + k * (PANEL + GAP), frame)
    ticks = [(tick, f"{tick:g}") for tick in charts.nice_ticks(0.0, end_s, 10 if width > 600 else 5) if tick <= end_s]
    body += charts.x_axis(ticks, x, "seconds since the first request of the run", frame)
    body += _columns(panels, x, frame)
    names = "; ".join(f"{p.label}: {', '.join(t.name for t in p.traces)}" for p in panels)
    return charts.svg(title, f"{len(panels)} panels over {number(end_s)} s: {names}", body, frame)


def _panel(panel: Panel, x: Scale, top: float, frame: Frame) -> list[str]:
    known = [v for trace in panel.traces for v in trace.values if v is not None]
    ticks = charts.nice_ticks(0.0, max([panel.top, *known]) or 1.0, 2)
    y = Scale(0.0, ticks[-1], top + PANEL, top)
    parts = charts.y_axis(ticks, y, panel.label, frame, top - 12)
    parts.append(charts.stroke(frame.left, top + PANEL, frame.right, top + PANEL, "axis"))
    for i, trace in reversed(list(enumerate(panel.traces))):
        parts.append(f'<path d="{_path(trace, x, y)}" class="curve" stroke="{charts.colour(i)}"/>')
    names = [trace.name for trace in panel.traces] if len(panel.traces) > 1 else []
    return [*parts, *charts.legend(names, charts.dash, frame, top - 16)]


def _path(trace: Trace, x: Scale, y: Scale) -> str:
    path, pen_up = "", True
    for at_s, value in zip(trace.at_s, trace.values, strict=True):
        if value is not None:
            at, height = f"{x.at(at_s):.1f}", f"{y.at(value):.1f}"
            path += f"M{at} {height}" if pen_up else f"H{at}V{height}" if trace.step else f"L{at} {height}"
        pen_up = value is None
    return path


def _columns(panels: Sequence[Panel], x: Scale, frame: Frame) -> list[str]:
    """Upright strips whose tooltips have the values of all panels at their time."""
    n = 48 if frame.width > 600 else 24
    step = (x.high - x.low) / n
    traces = [trace for panel in panels for trace in panel.traces]
    parts = []
    for k in range(n):
        at_s = x.low + (k + 0.5) * step
        values = ((trace.name, _at(trace, at_s)) for trace in traces)
        words = ", ".join(f"{name} {number(value)}" for name, value in values if value is not None)
        left, right = x.at(x.low + k * step), x.at(x.low + (k + 1) * step)
        parts.append(charts.rect(left, frame.top, right, frame.bottom, 'class="hit"', f"at {number(at_s)} s: {words}"))
    return parts


def _at(trace: Trace, at_s: float) -> float | None:
    """The last value not after at_s; for what is not a step the nearer neighbour. None before the first."""
    i = bisect_right(trace.at_s, at_s) - 1
    if i < 0:
        return None
    if not trace.step and i + 1 < len(trace.at_s) and trace.at_s[i + 1] - at_s < at_s - trace.at_s[i]:
        i += 1
    return trace.values[i]


ROW, NAMES = 26.0, 150.0  # of a dot chart: the height of a row, the width of its names
Dots = Sequence[tuple[float, float, float] | None]  # value, low, high


def dot_chart(names: Sequence[str], series: Mapping[str, Dots], *, title: str, label: str, width: float = 560) -> str:
    """A row a name, and in it a mark with its interval for each series that has a value; from 0 to 100 %."""
    if not names or not series:
        return charts.empty(title)
    row = ROW + 9 * (len(series) - 1)
    legend_height = 22.0 if len(series) > 1 else 0.0
    frame = Frame(width, 16 + legend_height + row * len(names) + 44, NAMES, 18, 16 + legend_height, 44)
    x, longest = Scale(0.0, 1.0, frame.left, frame.right), int(NAMES / charts.CHARACTER) - 2
    body = charts.x_axis([(tick / 5, f"{20 * tick} %") for tick in range(6)], x, label, frame, grid=True)
    for k, name in enumerate(names):
        middle = frame.top + row * (k + 0.5)
        short = name if len(name) <= longest else f"{name[: longest - 1]}\u2026"
        body.append(charts.text(frame.left - 8, middle + 4, short, anchor="end"))
        for i, (of, dots) in enumerate(series.items()):
            if (dot := dots[k]) is not None:
                (value, low, high), y = dot, middle + 9 * (i - (len(series) - 1) / 2)
                body += [charts.stroke(x.at(low), y, x.at(high), y, "axis"), charts.marker(x.at(value), y, i)]
                words = f"{of}, {name}: {100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f} %]"
                body.append(charts.hit(x.at(value), y, words, 8))
    body += charts.legend([*series], charts.marker, frame, 10) if len(series) > 1 else []
    return charts.svg(title, f"{len(names)} rows, {', '.join(series)}", body, frame)


_RADIUS = 15.0  # of the largest model
_SMALL = 4.0  # of a model whose parameters are not known
FRAME = Frame(560, 380, 50, 18, 34, 46)
BUBBLES_NARROW = Frame(380, 380, 46, 12, 34, 46)


def frontier_chart(placed: Sequence[ParetoPoint], *, title: str, frame: Frame = FRAME) -> str:
    """Cost per run on a log axis, score upright, area by params_b, a line through the frontier.

    Models without a place, or at no cost, are not drawn. A model is on the line if nobody dominates it and, where its
    probability is known, it is on the frontier in half of the draws. Intervals are hairlines.
    """
    known = [(one, one.cost_usd, one.score) for one in placed if one.on_frontier is not None]
    drawn = [(one, cost, score) for one, cost, score in known if cost and score is not None]
    if not drawn:
        return charts.empty(title, frame, "no model has a place")
    costs, scores = [cost for _, cost, _ in drawn], [score for _, _, score in drawn]
    x_ticks = charts.log_ticks(min(costs), max(costs) * (1 + 1e-6))
    y_ticks = charts.nice_ticks(min(scores), max(scores))
    x = Scale(min(x_ticks[0], min(costs)), max(x_ticks[-1], max(costs)), frame.left + 20, frame.right - 20, log=True)
    y = Scale(y_ticks[0], y_ticks[-1], frame.bottom - 16, frame.top + 4)
    largest = max((one.params_b or 0.0 for one, _, _ in drawn), default=0.0)
    best = sorted((cost, score) for one, cost, score in drawn if is_drawn_on_frontier(one))
    line = " ".join(f"{x.at(cost):.1f},{y.at(score):.1f}" for cost, score in best)
    fills = ("var(--best)", "var(--bad)")
    hairlines, bubbles, names = [], [], []
    taken: list[Box] = []
    for one, cost, score in drawn:
        at_x, at_y = x.at(cost), y.at(score)
        if one.cost_low_usd and one.cost_high_usd:
            left, right = x.at(max(one.cost_low_usd, x.low)), x.at(min(one.cost_high_usd, x.high))
            hairlines.append(charts.stroke(left, at_y, right, at_y, "axis"))
        if one.score_low is not None and one.score_high is not None:
            low, high = y.at(max(one.score_low, y.low)), y.at(min(one.score_high, y.high))
            hairlines.append(charts.stroke(at_x, low, at_x, high, "axis"))
        size = "" if one.params_b is None else f", {one.params_b:g}B"
        chance = "" if one.p_on_frontier is None else f", P(on frontier) {one.p_on_frontier:.2f}"
        tooltip = f"{one.model}{size}: {usd(cost)}, score {number(score)}{chance}"
        radius = _RADIUS * math.sqrt(one.params_b / largest) if one.params_b else _SMALL
        paint = f'r="{radius:.1f}" fill="{fills[not is_drawn_on_frontier(one)]}" fill-opacity=".55"'
        place = charts.hit(at_x, at_y, tooltip, max(radius, 10))
        bubbles.append(f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" {paint}/>{place}')
        taken.append((at_x - radius, at_x + radius, at_y - radius, at_y + radius))
        kind = "halo ink" if is_drawn_on_frontier(one) else "halo"
        names.append((one.model, at_x, at_y + 4, radius, kind))

    def disc(at_x: float, at_y: float, i: int) -> str:
        return f'<circle fill="{fills[i]}" fill-opacity=".6" cx="{at_x:.1f}" cy="{at_y:.1f}" r="5"/>'

    costs_at, x_label = [(tick, f"${tick:,g}") for tick in x_ticks], "cost of one run of the set (US dollars)"
    body = [
        *charts.y_axis(y_ticks, y, "score", frame),
        *charts.x_axis(costs_at, x, x_label, frame, grid=True),
        f'<polyline points="{line}" class="line" stroke="{fills[0]}"/>',
        *hairlines,
        *bubbles,
    ]
    for model, at_x, baseline, radius, kind in names:
        places = [
            (at_x + aside, baseline + down, anchor)
            for down in (0, -14, 14, -28, 28, -42, 42)
            for aside, anchor in ((radius + 4, "start"), (-radius - 4, "end"), (0, "middle"))
            if anchor != "middle" or abs(down) >= radius + 8  # else it would lie on its own bubble
        ]
        body.append(charts.label(model, places, taken, frame, kind))
    body += charts.legend(["on the frontier", "dominated"], disc, frame)
    if largest and frame.width > 400:  # else there is no room left of the legend
        body.append(charts.text(60, 14, "area: parameters"))
    words = "; ".join(f"{one.model}: {usd(cost)}, score {number(score)}" for one, cost, score in drawn)
    return charts.svg(title, words, body, frame)


def is_drawn_on_frontier(one: ParetoPoint) -> bool:
    return bool(one.on_frontier) and (one.p_on_frontier is None or one.p_on_frontier >= 0.5)
