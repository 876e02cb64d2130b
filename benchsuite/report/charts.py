"""Charts over the concurrency level, as SVG text: pure functions of values. Colours are CSS variables, so that a page
can be dark.

Concurrency is on a log-2 axis with a tick at every measured level. Points carry their value as a hover title.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from benchsuite.report.axes import Scale, log_ticks, nice_ticks
from benchsuite.report.svg import (
    CHARACTER,
    SMALL,
    Frame,
    apart,
    colour,
    empty,
    fitted,
    hit,
    marker,
    stroke,
    svg,
    text,
    x_axis,
    y_axis,
)
from benchsuite.report.words import number

_FAR = 2.5  # a limit beyond this many times the data is named, not drawn to scale
_WIDEST = 1.6  # times the largest value: an interval that ends beyond is cut at the edge
_LOG_FROM = 30.0  # the largest over the smallest value: from there on a linear axis hides the small ones
_LEAST_LOG = 1e-300  # a subnormal number has no power of ten


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a level, with its interval where it has one. y None: not known, so not drawn.

    misses: drawn hollow. chosen: drawn with a ring.
    """

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None
    misses: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Points ascending in x, and their name in the legend. dashed: a law, a line without points."""

    name: str
    points: tuple[Point, ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """A labelled line at y: a limit of the SLO."""

    y: float
    label: str


def level_chart(
    series: Sequence[Series],
    *,
    title: str,
    y_label: str,
    x_label: str = "concurrency (virtual users)",
    limits: Sequence[Limit] = (),
    infeasible: Sequence[float] = (),
    optimum: float | None = None,
    mark: str = "optimum",
    zone: tuple[float, float] | None = None,
    named: bool = False,
    frame: Frame = SMALL,
) -> str:
    """Lines with points over the concurrency level; from zero up, or on a log axis where values differ 30-fold.

    infeasible: levels to shade. optimum: the level to mark with the word `mark`, and a ring on the first series. zone:
    levels from and to that are shaded as good. named: names at the lines' right ends, in the frame's right margin,
    instead of a legend.
    """
    levels = sorted({p.x for one in series if not one.dashed for p in one.points})
    known = [p.y for one in series for p in one.points if p.y is not None]
    if not levels or not known:
        return empty(title, frame)
    near = [limit for limit in limits if limit.y <= _FAR * max(known)]
    ends = [v for one in series for p in one.points for v in (p.low, p.high) if v is not None]
    ticks, y = _value_scale(known, ends, [limit.y for limit in near], frame)
    frame = fitted(frame, ticks, y)
    x = Scale(levels[0], levels[-1], frame.left + 20, frame.right - 20, log=True)
    body = [
        *_shades(levels, x, infeasible, frame),
        *_zone(zone, levels, x, frame),
        *y_axis(ticks, y, y_label, frame),
        *x_axis([(level, f"{level:g}") for level in levels], x, x_label, frame),
        *_legend(series if len(series) > 1 and not named else [], y_label, frame),
        *_optimum(optimum, mark, levels, x, y, series[0], frame),
        *(_limit_line(limit, y, frame) for limit in near),
        *(part for i, one in enumerate(series) for part in _points(one, i, x, y)),
        *_limit_labels(near, series, x, y, frame),
        *_far_limits([limit for limit in limits if limit not in near], series[0], frame),
        *(_end_names(series, x, y, frame) if named else []),
    ]
    return svg(title, _describe(series, y_label), body, frame)


def _value_scale(
    known: Sequence[float], ends: Sequence[float], limits: Sequence[float], frame: Frame
) -> tuple[list[float], Scale]:
    """Room for all values and limits, and for the ends of intervals as far as those leave the values to be seen."""
    least, most = min(known), max(known)
    values = [*known, *limits, *(min(max(end, least / 2), most * _WIDEST) for end in ends if least >= 0)]
    if min(values) > _LEAST_LOG and max(known) / min(known) >= _LOG_FROM:
        ticks = log_ticks(min(values), max(values) * (1 + 1e-6))
        return _thinned(ticks), Scale(ticks[0], ticks[-1], frame.bottom, frame.top, log=True)
    floor = min(known) if min(known) < -max(values) / 1000 else 0.0  # a rest of rounding opens no axis below zero
    ticks = nice_ticks(floor, max(values) or 1.0)
    return ticks, Scale(ticks[0], ticks[-1], frame.bottom, frame.top)


def _thinned(ticks: list[float]) -> list[float]:
    """Powers of ten alone where every step would be too many, and not all of those where they are."""
    if len(ticks) <= 8:
        return ticks
    tens = [tick for tick in ticks if f"{tick:e}".startswith("1.000000e")]
    return tens[:: -(-len(tens) // 8)] if len(tens) > 1 else ticks


def _describe(series: Sequence[Series], y_label: str) -> str:
    lines = [
        f"{one.name}: " + ", ".join(f"{number(p.y)} at {p.x:g}" for p in one.points if p.y is not None)
        for one in series
        if not one.dashed
    ]
    return f"{y_label}. " + "; ".join(lines)


def _legend(series: Sequence[Series], y_label: str, frame: Frame) -> list[str]:
    """Series named in the row of the axis label, from the right; none where there is no room for all."""
    parts, right = [], frame.right
    for i, one in reversed(list(enumerate(series))):
        left = right - len(one.name) * CHARACTER - 21
        if left < len(y_label) * CHARACTER * 1.1 + 8:
            return []
        mark = f'<path d="M{left:.1f} 10h16" class="law" stroke="{colour(i)}"/>'
        parts.append(mark if one.dashed else marker(left + 9, 10, i))
        parts.append(text(left + 19, 14, one.name))
        right = left - 10
    return parts


def _band(low: float, high: float, levels: Sequence[float], x: Scale, frame: Frame) -> tuple[float, float]:
    """From half way below the level `low` to half way above the level `high`, in pixels."""
    i, j = levels.index(low), levels.index(high)
    left = (x.at(levels[i - 1]) + x.at(low)) / 2 if i else frame.left
    right = (x.at(levels[j + 1]) + x.at(high)) / 2 if j + 1 < len(levels) else frame.right
    return left, right


def _shades(levels: Sequence[float], x: Scale, infeasible: Sequence[float], frame: Frame) -> list[str]:
    areas: list[tuple[float, float]] = []
    for level in (one for one in levels if one in infeasible):
        left, right = _band(level, level, levels, x, frame)
        if areas and areas[-1][1] >= left - 0.01:
            areas[-1] = (areas[-1][0], right)
        else:
            areas.append((left, right))
    top = frame.top - 16
    parts = [
        f'<rect x="{left:.1f}" y="{top:g}" width="{right - left:.1f}" height="{frame.bottom - top:g}" class="bad"/>'
        for left, right in areas
    ]
    widest = max(areas, key=lambda area: area[1] - area[0], default=(0.0, 0.0))
    said = ("misses the SLO", "misses")
    label = next((t for t in said if len(t) * CHARACTER < widest[1] - widest[0] - 4), "")
    return [*parts, text(sum(widest) / 2, frame.top - 4, label, anchor="middle")] if label else parts


def _zone(zone: tuple[float, float] | None, levels: Sequence[float], x: Scale, frame: Frame) -> list[str]:
    if zone is None or zone[0] not in levels or zone[1] not in levels:
        return []
    left, right = _band(zone[0], zone[1], levels, x, frame)
    size = f'width="{right - left:.1f}" height="{frame.bottom - frame.top:g}"'
    return [f'<rect x="{left:.1f}" y="{frame.top:g}" {size} class="zone"><title>zone of best cost</title></rect>']


def _optimum(
    level: float | None, word: str, levels: Sequence[float], x: Scale, y: Scale, first: Series, frame: Frame
) -> list[str]:
    if level is None or level not in levels:
        return []
    label, here = f"{word} {level:g}", x.at(level)
    half = len(label) * CHARACTER * 1.08 / 2
    middle = min(max(here, 4 + half), frame.width - 4 - half)
    parts = [
        stroke(here, frame.top - 18, here, frame.bottom, "best"),
        text(middle, frame.top - 22, label, "best-text", "middle"),
    ]
    value = next((p.y for p in first.points if p.x == level), None)
    if value is not None:
        parts.append(f'<circle cx="{here:.1f}" cy="{y.at(value):.1f}" r="8.5" class="ring"/>')
    return parts


def _limit_line(limit: Limit, y: Scale, frame: Frame) -> str:
    line = stroke(frame.left, y.at(limit.y), frame.right, y.at(limit.y), "limit")
    return f"<g>{line}<title>{escape(limit.label)}</title></g>"


def _limit_labels(limits: Sequence[Limit], series: Sequence[Series], x: Scale, y: Scale, frame: Frame) -> list[str]:
    """Each limit's name on its line, at the end and on the side where it is farthest from the data."""
    parts = []
    for limit in limits:
        width, at = len(limit.label) * CHARACTER, y.at(limit.y)
        places = []
        for left, anchor in ((frame.right - 4 - width, "end"), (frame.left + 4, "start")):
            for middle in (at - 9, at + 11):
                if frame.top - 2 <= middle <= frame.bottom - 6:
                    free = _clearance(series, x, y, left - 6, left + width + 6, middle)
                    places.append((min(free, 16.0), left, anchor, middle))
        best = max(places, key=lambda place: place[0], default=None)
        if best is not None:
            _, left, anchor, middle = best
            at_x = left if anchor == "start" else left + width
            parts.append(text(at_x, middle + 4, limit.label, "limit-text halo", anchor))
    return parts


def _clearance(series: Sequence[Series], x: Scale, y: Scale, left: float, right: float, middle: float) -> float:
    """Pixels between the height `middle` and the nearest line from left to right."""
    least = 1e9
    for one in series:
        drawn = [(x.at(p.x), y.at(p.y)) for p in one.points if p.y is not None]
        for (x1, y1), (x2, y2) in pairwise(drawn):
            for k in range(9):
                at = x1 + (x2 - x1) * k / 8
                if left <= at <= right:
                    least = min(least, abs(y1 + (y2 - y1) * k / 8 - middle))
    return least


def _far_limits(limits: Sequence[Limit], first: Series, frame: Frame) -> list[str]:
    """Named in the upper corner from which the first line goes down."""
    known = [p.y for p in first.points if p.y is not None]
    rises = bool(known) and known[-1] > known[0]
    x, anchor = (frame.left + 4, "start") if rises else (frame.right - 4, "end")
    return [
        text(x, frame.top + 14 + 16 * i, f"{limit.label}: far above", "limit-text halo", anchor)
        for i, limit in enumerate(limits)
    ]


def _points(one: Series, index: int, x: Scale, y: Scale) -> list[str]:
    shade = colour(index)
    known = [(p, p.y) for p in one.points if p.y is not None]
    path = " ".join(f"{x.at(p.x):.1f},{y.at(value):.1f}" for p, value in known)
    parts = [f'<polyline points="{path}" class="{"law" if one.dashed else "line"}" stroke="{shade}"/>']
    if one.dashed:
        return parts
    bars, marks = "", []
    for p, value in known:
        at, height, ends = f"{x.at(p.x):.1f}", y.at(value), ""
        if p.low is not None and p.high is not None:
            low, high = max(p.low, y.low), min(p.high, y.high)
            bars += f"M{at} {y.at(low):.1f}V{y.at(high):.1f}"
            bars += "m-4 0h8" if high == p.high else ""  # no foot where the interval goes on beyond the chart
            bars += f"M{at} {y.at(low):.1f}m-4 0h8" if low == p.low else ""
            ends = f" [{number(p.low)}, {number(p.high)}]"
        marks.append(marker(x.at(p.x), height, index, hollow=p.misses))
        if p.chosen:
            marks.append(f'<circle cx="{at}" cy="{height:.1f}" r="8" class="ring"/>')
        marks.append(hit(x.at(p.x), height, f"{one.name} at {p.x:g}: {number(value)}{ends}"))
    return [*parts, *([f'<path d="{bars}" class="bar" stroke="{shade}"/>'] if bars else []), *marks]


def _end_names(series: Sequence[Series], x: Scale, y: Scale, frame: Frame) -> list[str]:
    """The names beside the last points, moved apart, with a hairline to their point."""
    last = [(i, one, [p for p in one.points if p.y is not None][-1:]) for i, one in enumerate(series)]
    known = [(i, one.name, x.at(p.x), y.at(p.y)) for i, one, ends in last for p in ends if p.y is not None]
    heights = apart([at for *_, at in known], 14, frame.top, frame.bottom - 4)
    parts = []
    for (i, name, at_x, at_y), height in zip(known, heights, strict=True):
        start = frame.right + 6
        parts.append(f'<path d="M{at_x + 6:.1f} {at_y:.1f}L{start:.1f} {height:.1f}" class="grid" fill="none"/>')
        parts.append(marker(start + 6, height, i))
        parts.append(text(start + 15, height + 4, name, "ink"))
    return parts
