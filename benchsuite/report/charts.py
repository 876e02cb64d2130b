"""Charts as SVG text. Pure.

Their style is templates/charts.css, which whoever shows them adds. One base for all (axes, marks, legend, limit lines,
labels that avoid what is drawn, tooltips), then lines over the level and distributions; charts_special has the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from benchsuite.analysis.requests import Floats
from benchsuite.level import LevelKind
from benchsuite.redact import html_text
from benchsuite.report.format import number

CHARACTER = 6.8  # mean width at 12 px
LEVELS: dict[LevelKind, str] = {"concurrency": "concurrency (virtual users)", "rate": "rate (requests/s)"}


@dataclass(frozen=True, slots=True)
class Frame:
    """A chart's view box, and the margins around its plot, in pixels."""

    width: float = 380
    height: float = 268
    left: float = 50
    right_margin: float = 14
    top: float = 54
    bottom_margin: float = 44

    @property
    def right(self) -> float:
        return self.width - self.right_margin

    @property
    def bottom(self) -> float:
        return self.height - self.bottom_margin

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


SMALL = Frame()


def svg(title: str, description: str, body: Iterable[str], frame: Frame = SMALL) -> str:
    """An SVG element of the frame's size with a title and a description for those who cannot see it."""
    return (
        f'<svg class="bs" xmlns="http://www.w3.org/2000/svg" role="img" width="{frame.width:g}" '
        f'height="{frame.height:g}" viewBox="0 0 {frame.width:g} {frame.height:g}"><title>{html_text(title)}</title>'
        f"<desc>{html_text(description)}</desc>{''.join(body)}</svg>"
    )


def empty(title: str, frame: Frame = SMALL, reason: str = "no value is known") -> str:
    return svg(title, "nothing to draw", [text(frame.middle, frame.height / 2, reason, anchor="middle")], frame)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A text element; `words` are escaped. kind: its CSS class."""
    attributes = f' class="{kind}"' if kind else ""
    attributes += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{html_text(words)}</text>'


def stroke(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def rect(left: float, top: float, right: float, bottom: float, attributes: str, tooltip: str = "") -> str:
    """A rectangle between two corners; `tooltip` is escaped."""
    size = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.2f}"'
    return f"<rect {size} {attributes}>{f'<title>{html_text(tooltip)}</title>' if tooltip else ''}</rect>"


def hit(x: float, y: float, tooltip: str, radius: float = 11) -> str:
    """A place that shows its value when it is pointed at; `tooltip` is escaped."""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.3g}" class="hit"><title>{html_text(tooltip)}</title></circle>'
    )


def colour(i: int) -> str:
    """The i-th series' colour; nine, then again."""
    return f"var(--s{i % 9})"


def marker(x: float, y: float, i: int, *, hollow: bool = False) -> str:
    """The i-th series' mark: circle, square, triangle, diamond, so that colour is not all that distinguishes them."""
    paint = f'fill="{colour(i)}"'
    if hollow:
        paint = f'fill="var(--ground)" stroke="{colour(i)}" stroke-width="1.6"'
    match i % 4:
        case 1:
            return f'<rect x="{x - 3.6:.1f}" y="{y - 3.6:.1f}" width="7.2" height="7.2" {paint}/>'
        case 2:
            return f'<path d="M{x:.1f} {y - 4.8:.1f}l4.6 8h-9.2z" {paint}/>'
        case 3:
            return f'<path d="M{x:.1f} {y - 5.2:.1f}l5.2 5.2l-5.2 5.2l-5.2 -5.2z" {paint}/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {paint}/>'


def dash(x: float, y: float, i: int) -> str:
    return f'<path d="M{x - 7:.1f} {y:.1f}h14" stroke="{colour(i)}" stroke-width="2.5"/>'


Mark = Callable[[float, float, int], str]  # of the i-th series, around (x, y)
Box = tuple[float, float, float, float]  # left, right, top, bottom


def legend(names: Sequence[str], mark: Mark, frame: Frame, y: float = 10, left: float = 0) -> list[str]:
    """Marks with their names in one row whose middle is y, from the right; none if it would reach beyond `left`."""
    widths = [len(name) * CHARACTER for name in names]
    at = frame.right - sum(widths) - 31 * len(names) + 31
    if at - 21 < left:
        return []
    parts = []
    for i, (name, width) in enumerate(zip(names, widths, strict=True)):
        parts += [mark(at - 10, y, i), text(at, y + 4, name)]
        at += width + 31
    return parts


def label(words: str, places: Iterable[tuple[float, float, str]], taken: list[Box], frame: Frame, kind: str) -> str:
    """A text at the first of `places` (x, baseline, anchor) where it meets the fewest boxes of `taken`; joins them."""
    width = len(words) * CHARACTER

    def box(place: tuple[float, float, str]) -> Box:
        left = place[0] - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[place[2]]
        return left, left + width, place[1] - 11, place[1] + 1

    def crowding(place: tuple[float, float, str]) -> int:
        left, right, top, bottom = box(place)
        inside = frame.left <= left and right <= frame.width - 2 and frame.top - 12 <= top and bottom <= frame.bottom
        return 1000 * (not inside) + sum(left < b[1] and b[0] < right and top < b[3] and b[2] < bottom for b in taken)

    x, y, anchor = best = min(places, key=crowding)
    taken.append(box(best))
    return text(x, y, words, kind, anchor)


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from low to high onto pixels from start to end; log: by their logarithm (all > 0)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of `value`; the middle if the scale has no extent."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        if high <= low:
            return (self.start + self.end) / 2
        share = ((math.log(value) if self.log else value) - low) / (high - low)
        return self.start + share * (self.end - self.start)


def y_axis(ticks: Sequence[float], y: Scale, label: str, frame: Frame, label_y: float = 14) -> list[str]:
    """The upright axis: a grid line per tick, its number where there is room, the label above the plot."""
    lines = "".join(f"M{frame.left:.1f} {y.at(tick):.1f}H{frame.right:g}" for tick in ticks)
    parts = [text(4, label_y, label, "y"), f'<path d="{lines}" class="grid"/>']
    last = math.inf
    for tick, words in zip(ticks, _tick_texts(ticks, y), strict=True):
        if last - y.at(tick) >= 15:
            parts.append(text(frame.left - 6, y.at(tick) + 4, words, anchor="end"))
            last = y.at(tick)
    return parts


def _tick_texts(ticks: Sequence[float], y: Scale) -> list[str]:
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    return [f"{tick:,.10g}" if y.log else tick_text(tick, step) for tick in ticks]


def fitted(frame: Frame, ticks: Sequence[float], y: Scale) -> Frame:
    """The frame with room for the numbers of the upright axis."""
    longest = max((len(words) for words in _tick_texts(ticks, y)), default=0)
    return replace(frame, left=min(max(38.0, 12 + longest * CHARACTER), 96.0))


def x_axis(ticks: Sequence[tuple[float, str]], x: Scale, label: str, frame: Frame, *, grid: bool = False) -> list[str]:
    """The lower axis: a mark per tick, its text where there is room, the label below. grid: a line up from each."""
    lines = "".join(f"M{x.at(tick):.1f} {frame.bottom:g}V{frame.top:g}" for tick, _ in ticks)
    marks = "".join(f"M{x.at(tick):.1f} {frame.bottom:g}v4" for tick, _ in ticks)
    parts = [f'<path d="{lines}" class="grid"/>'] if grid else []
    parts.append(f'<path d="M{frame.left:.1f} {frame.bottom:g}H{frame.right:g}{marks}" class="axis"/>')
    last = -1e9
    for tick, words in ticks:
        half = len(words) * CHARACTER / 2
        if x.at(tick) - half >= last + 6:
            parts.append(text(x.at(tick), frame.bottom + 18, words, anchor="middle"))
            last = x.at(tick) + half
    return [*parts, text(frame.middle, frame.height - 7, label, anchor="middle")]


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """`places` moved as little as it takes to lie `gap` apart, in their order, between low and high if they fit."""
    if not places:
        return []
    from scipy.optimize import isotonic_regression  # here: half a second to import

    order, steps = np.argsort(places, kind="stable"), gap * np.arange(len(places))
    ascending = isotonic_regression(np.asarray(places, float)[order] - steps).x + steps
    moved = np.empty(len(places))
    moved[order] = np.maximum(np.minimum(ascending, high - steps[::-1]), low + steps)
    return [float(place) for place in moved]


def nice_ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About `n` ascending multiples of 1, 2 or 5 times a power of ten, the first <= low and the last >= high.

    Raises ValueError if low > high or either is not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"no ticks from {low} to {high}")
    if high - low <= max(abs(low), abs(high)) * 1e-9:
        high = low + (abs(low) or 1.0)
    raw = max((high - low) / max(n, 1), 1e-300)  # a subnormal number has no power of ten
    ten = 10.0 ** math.floor(math.log10(raw))
    step = ten * next(factor for factor in (1, 2, 5, 10) if factor * ten >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))  # 0.3, not 3 * 0.1
    return [round(i * step, decimals) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Ascending 1, 2, 5 times powers of ten, or the powers alone where those are many; low > 0. Covers low to high."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [f * 10.0**power for power in range(first, last + 1) for f in factors]
    start = max((i for i, tick in enumerate(ticks) if tick <= low * (1 + 1e-9)), default=0)
    stop = next((i for i, tick in enumerate(ticks) if tick >= high * (1 - 1e-9)), len(ticks) - 1)
    return ticks[start : stop + 1]


def tick_text(tick: float, step: float) -> str:
    """A tick with the decimals that its step needs; the shortest form where those are more than eight."""
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    if decimals > 8:
        return f"{tick:.3g}"
    return f"{tick:,.{decimals}f}"


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
    """Points ascending in x, and their name in the legend. dashed: a law, a line without points. apart: points without
    a line. kind: of the levels that x is."""

    name: str
    points: tuple[Point, ...]
    dashed: bool = False
    apart: bool = False
    kind: LevelKind = "concurrency"

    @property
    def known(self) -> list[tuple[Point, float]]:
        """The points that have a value, with it."""
        return [(p, p.y) for p in self.points if p.y is not None]


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
    limits: Sequence[Limit] = (),
    infeasible: Sequence[float] = (),
    optimum: float | None = None,
    mark: str = "optimum {:g}",
    named: bool = False,
    x_label: str = "",
    frame: Frame = SMALL,
) -> str:
    """Lines with points over the level; from zero up, or on a log axis where values differ 30-fold.

    infeasible: levels to shade. optimum: the level to mark with the words `mark` and a ring on the first series. named:
    names at the lines' right ends, in the frame's right margin, instead of a legend. x_label: where x is no level but
    any number, which lies on a linear axis from 0.
    """
    levels = sorted({p.x for one in series if not one.dashed for p in one.points})
    known = [value for one in series for _, value in one.known]
    if not levels or not known:
        return empty(title, frame)
    near = [limit for limit in limits if limit.y <= _FAR * max(known)]
    ends = [v for one in series for p in one.points for v in (p.low, p.high) if v is not None]
    ticks, y = _value_scale(known, ends, [limit.y for limit in near], frame)
    frame = fitted(frame, ticks, y)
    x = Scale(levels[0], levels[-1], frame.left + 20, frame.right - 20, log=True)
    x_ticks = [(level, f"{level:g}") for level in levels]
    if x_label:
        round_ones = nice_ticks(0.0, levels[-1])
        x = Scale(0.0, round_ones[-1], frame.left, frame.right - 8)
        x_ticks = [(one, tick_text(one, round_ones[1])) for one in round_ones]
    kinds = dict.fromkeys(LEVELS[one.kind] for one in series if not one.dashed)

    def mark_of(at_x: float, at_y: float, i: int) -> str:
        law = f'<path d="M{at_x - 8:.1f} {at_y:.1f}h16" class="law" stroke="{colour(i)}"/>'
        return law if series[i].dashed else marker(at_x, at_y, i)

    lines = [[(x.at(p.x), y.at(value)) for p, value in one.known] for one in series]
    # boxes around eight places of each piece of a line, which the limits' names avoid
    taken = [
        (at_x - 6, at_x + 6, at_y - 5, at_y + 5)
        for line in lines
        for (x1, y1), (x2, y2) in pairwise([*line[:1], *line])
        for k in range(1, 9)
        for at_x, at_y in [(x1 + (x2 - x1) * k / 8, y1 + (y2 - y1) * k / 8)]
    ]
    body = [
        *_bands(levels, x, infeasible, frame),
        *y_axis(ticks, y, y_label, frame),
        *x_axis(x_ticks, x, x_label or " or ".join(kinds), frame),
    ]
    if len(series) > 1 and not named:
        body += legend([one.name for one in series], mark_of, frame, left=len(y_label) * CHARACTER * 1.1 + 8)
    if optimum in levels:
        words, here = mark.format(optimum), x.at(optimum)
        half = len(words) * CHARACTER * 1.08 / 2
        body.append(stroke(here, frame.top - 18, here, frame.bottom, "best"))
        body.append(
            text(min(max(here, 4 + half), frame.width - 4 - half), frame.top - 22, words, "best-text", "middle")
        )
        body += [ring(here, y.at(value)) for p, value in series[0].known if p.x == optimum]
    for limit in near:
        line = stroke(frame.left, y.at(limit.y), frame.right, y.at(limit.y), "limit")
        body.append(f"<g>{line}<title>{html_text(limit.label)}</title></g>")
    body += [part for i, one in enumerate(series) for part in _line(one, i, x, y)]
    for limit in near:
        at = y.at(limit.y)
        ends_of_line = ((frame.right - 4, "end"), (frame.left + 4, "start"))
        places = [(at_x, at + down, anchor) for at_x, anchor in ends_of_line for down in (-5, 15)]
        body.append(label(limit.label, places, taken, frame, "limit-text halo"))
    # a limit far above is named in the upper corner from which the first line goes down
    rises = lines[0] and lines[0][-1][1] < lines[0][0][1]
    for i, limit in enumerate(limit for limit in limits if limit not in near):
        at_x, anchor = (frame.left + 4, "start") if rises else (frame.right - 4, "end")
        body.append(text(at_x, frame.top + 14 + 16 * i, f"{limit.label}: far above", "limit-text halo", anchor))
    if named:
        body += _end_names(series, x, y, frame)
    values = (
        f"{one.name}: " + ", ".join(f"{number(value)} at {p.x:g}" for p, value in one.known)
        for one in series
        if not one.dashed
    )
    return svg(title, f"{y_label}. {'; '.join(values)}", body, frame)


def _value_scale(
    known: Sequence[float], ends: Sequence[float], limits: Sequence[float], frame: Frame
) -> tuple[list[float], Scale]:
    """Room for all values and limits, and for the ends of intervals as far as those leave the values to be seen."""
    least, most = min(known), max(known)
    values = [*known, *limits, *(min(max(end, least / 2), most * _WIDEST) for end in ends if least >= 0)]
    if min(values) > _LEAST_LOG and most / least >= _LOG_FROM:
        ticks = log_ticks(min(values), max(values) * (1 + 1e-6))
        scale = Scale(ticks[0], ticks[-1], frame.bottom, frame.top, log=True)
        tens = [tick for tick in ticks if f"{tick:e}".startswith("1.000000e")]
        # powers of ten alone where every step would be too many, and not all of those where they are
        return (tens[:: -(-len(tens) // 8)] if len(ticks) > 8 and len(tens) > 1 else ticks), scale
    floor = least if least < -max(values) / 1000 else 0.0  # a rest of rounding opens no axis below zero
    ticks = nice_ticks(floor, max(values) or 1.0)
    return ticks, Scale(ticks[0], ticks[-1], frame.bottom, frame.top)


def _bands(levels: Sequence[float], x: Scale, infeasible: Sequence[float], frame: Frame) -> list[str]:
    """Shades from half way to the neighbouring levels: those that violate the SLO."""
    edges = [frame.left, *((x.at(a) + x.at(b)) / 2 for a, b in pairwise(levels)), frame.right]
    areas: list[tuple[float, float]] = []
    for left, right in (edges[i : i + 2] for i, level in enumerate(levels) if level in infeasible):
        left = areas.pop()[0] if areas and areas[-1][1] == left else left
        areas.append((left, right))
    parts = [rect(left, frame.top - 16, right, frame.bottom, 'class="bad"') for left, right in areas]
    widest = max(areas, key=lambda area: area[1] - area[0], default=(0.0, 0.0))
    fits = (words for words in ("violates the SLO", "violates") if len(words) * CHARACTER < widest[1] - widest[0] - 4)
    if words := next(fits, ""):
        parts.append(text(sum(widest) / 2, frame.top - 4, words, anchor="middle"))
    return parts


def ring(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8.5" class="ring"/>'


def _line(one: Series, index: int, x: Scale, y: Scale) -> list[str]:
    """The line, its intervals, and its points with their tooltips."""
    shade = colour(index)
    path = " ".join(f"{x.at(p.x):.1f},{y.at(value):.1f}" for p, value in one.known)
    kind = "law" if one.dashed else "line"
    parts = [f'<polyline points="{path}" class="{kind}" stroke="{shade}"/>'] * (not one.apart)
    if one.dashed:
        return parts
    bars, marks = "", []
    for p, value in one.known:
        at, height, ends = f"{x.at(p.x):.1f}", y.at(value), ""
        if p.low is not None and p.high is not None:
            low, high = max(p.low, y.low), min(p.high, y.high)
            bars += f"M{at} {y.at(low):.1f}V{y.at(high):.1f}"
            bars += "m-4 0h8" if high == p.high else ""  # no foot where the interval goes on beyond the chart
            bars += f"M{at} {y.at(low):.1f}m-4 0h8" if low == p.low else ""
            ends = f" [{number(p.low)}, {number(p.high)}]"
        marks.append(marker(x.at(p.x), height, index, hollow=p.misses))
        marks += [ring(x.at(p.x), height)] if p.chosen else []
        marks.append(hit(x.at(p.x), height, f"{one.name} at {p.x:g}: {number(value)}{ends}"))
    return [*parts, *([f'<path d="{bars}" class="bar" stroke="{shade}"/>'] if bars else []), *marks]


def _end_names(series: Sequence[Series], x: Scale, y: Scale, frame: Frame) -> list[str]:
    """The names at the heights of the last points, in their order, with a hairline to their point."""
    last = [(i, one.name, *one.known[-1]) for i, one in enumerate(series) if one.known]
    heights = apart([y.at(value) for *_, value in last], 14, frame.top, frame.bottom - 4)
    parts, start = [], frame.right + 6
    for (i, name, p, value), height in zip(last, heights, strict=True):
        hair = f"M{x.at(p.x) + 6:.1f} {y.at(value):.1f}L{start:.1f} {height:.1f}"
        parts.append(f'<path d="{hair}" class="grid" fill="none"/>{marker(start + 6, height, i)}')
        parts.append(text(start + 15, height + 4, name, "ink"))
    return parts


_ALL_STEPS, _CURVE_STEPS = 1200, (20, 200)  # of all curves together and of one: the page stays small
_TOOLTIPS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)  # shares with a tooltip
_MOST_NAMES = 8


def ecdf_chart(
    samples: Sequence[tuple[str, Sequence[float] | Floats]],
    *,
    title: str,
    x_label: str,
    unit: str = "ms",
    limits: Sequence[Limit] = (),
) -> str:
    """The share of requests at or below a value, a curve per sample, on a log axis. Values <= 0 are left out.

    limits: drawn as vertical lines at their `y`, a value. unit: of the values, in tooltips.
    """
    known = ((name, np.asarray(values, float)) for name, values in samples)
    curves = [(name, values[values > 0]) for name, values in known if (values > 0).any()]
    if not curves:
        return empty(title)
    frame = replace(SMALL, top=SMALL.top - 18)
    low, high = min(float(values.min()) for _, values in curves), max(float(values.max()) for _, values in curves)
    ticks = _sample_ticks(low, high)
    x = Scale(min(low, ticks[0]), max(high, ticks[-1]), frame.left, frame.right - 6, log=True)
    y = Scale(0.0, 1.0, frame.bottom, frame.top)
    most = min(max(_ALL_STEPS // len(curves), _CURVE_STEPS[0]), _CURVE_STEPS[1])

    def at_share(values: Floats, share: float) -> float:
        return float(np.quantile(values, share, method="inverted_cdf"))

    named = range(0, len(curves), -(-len(curves) // _MOST_NAMES))
    body = [
        *y_axis([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], y, "share of requests", frame),
        *x_axis([(tick, f"{tick:,g}") for tick in ticks], x, x_label, frame, grid=True),
    ]
    taken: list[Box] = []
    for limit in (one for one in limits if x.low < one.y < x.high):
        at = x.at(limit.y)
        places = [(at - 5, frame.top + 12, "end"), (at + 5, frame.top + 12, "start")]
        body.append(stroke(at, frame.top, at, frame.bottom, "limit"))
        body.append(label(limit.label, places, taken, frame, "limit-text halo"))
    for i, (name, values) in enumerate(curves):
        shade = f"var(--r{round(5 * i / (len(curves) - 1)) if len(curves) > 1 else 3})"  # from light to dark
        steps = np.linspace(0, 1, min(len(values) + 1, most))
        path = "".join(
            f"H{x.at(value):.1f}V{y.at(share):.1f}"
            for share, value in zip(steps, np.quantile(values, steps, method="inverted_cdf"), strict=True)
        )
        words = html_text(f"at {name}: median {number(at_share(values, 0.5))}, n {len(values):,}")
        start = f"M{x.at(float(values.min())):.1f} {y.at(0.0):.1f}"
        body.append(f'<path d="{start}{path}" class="curve" stroke="{shade}"><title>{words}</title></path>')
    for name, values in curves:  # a percentile has a tooltip as far as ten observations lie beyond it
        shares = _TOOLTIPS if len(curves) <= _MOST_NAMES else (0.5, 0.95)
        for share in [share for share in shares if min(share, 1 - share) * len(values) >= 10] or [0.5]:
            value = at_share(values, share)
            body.append(hit(x.at(value), y.at(share), f"at {name}: p{round(share * 100)} {number(value)} {unit}", 6))
    for rank, (name, values) in enumerate(curves[i] for i in named):
        # each at a height of its own, so that neighbours do not meet
        share = 0.88 - 0.76 * rank / (len(named) - 1) if len(named) > 1 else 0.5
        body.append(text(x.at(at_share(values, share)), y.at(share) + 4, name, "y halo", "middle"))
    return svg(title, f"{len(curves)} curves: {', '.join(name for name, _ in curves)}", body, frame)


def _sample_ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high; about even steps where all lie within a decade, ones around them at need."""
    inside = [tick for tick in log_ticks(low, high) if low <= tick <= high]
    if len(inside) < 4 and high >= 10 * low:  # powers of ten alone are few here
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        inside = [tick for power in powers for f in (1, 2, 5) if low <= (tick := f * 10.0**power) <= high]
    elif len(inside) < 4:
        inside = [tick for tick in nice_ticks(low, high, 5) if low <= tick <= high]
    return inside if len(inside) > 1 else log_ticks(low, high * (1 + 1e-6))
