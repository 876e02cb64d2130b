"""Empirical distribution functions as SVG text: one curve per level, on a log axis. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise

from benchsuite.report.format import number

CHARACTER = 6.8  # mean width at 12 px


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
        """Where the plot ends."""
        return self.width - self.right_margin

    @property
    def bottom(self) -> float:
        """Where the plot ends."""
        return self.height - self.bottom_margin

    @property
    def middle(self) -> float:
        """Half way between the plot's left and right."""
        return (self.left + self.right) / 2


SMALL = Frame()

# Okabe and Ito's colours, which the colour-blind tell apart, and three more; the ramp is one hue from light to dark
CSS = """
.bs{--ink:#1b2330;--soft:#5b6675;--grid:#e6eaef;--ground:#ffffff;--bad:#8a93a0;--limit:#b3261e;--best:#00795a;
--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#b4508f;--s4:#b07d00;--s5:#3aa0d8;--s6:#6b6b6b;--s7:#7a4fbf;--s8:#8c5a2b;
--r0:#86bfe3;--r1:#5aa3d4;--r2:#3386c0;--r3:#1a69a6;--r4:#0d4d84;--r5:#08325c}
@media (prefers-color-scheme:dark){.bs{--ink:#e6eaf0;--soft:#a3adba;--grid:#29313c;--ground:#161b22;--bad:#7d8794;
--limit:#ff8a80;--best:#4fd1a5;--s0:#56b4e9;--s1:#f0954b;--s2:#37c59b;--s3:#e39ac2;--s4:#e5b84a;--s5:#9bd4f5;--s6:#b5bcc6;
--s7:#b79df0;--s8:#cf9f70;--r0:#2f6ea3;--r1:#3f87be;--r2:#58a2d6;--r3:#7dbce6;--r4:#a7d4f1;--r5:#d6ecfa}}
@media print{.bs{--ink:#000;--soft:#444;--grid:#ddd;--ground:#fff;--bad:#8a93a0;--limit:#b3261e;--best:#00795a;
--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#b4508f;--s4:#b07d00;--s5:#3aa0d8;--s6:#6b6b6b;--s7:#7a4fbf;--s8:#8c5a2b;
--r0:#86bfe3;--r1:#5aa3d4;--r2:#3386c0;--r3:#1a69a6;--r4:#0d4d84;--r5:#08325c}}
.bs text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--soft)}
.bs .y{fill:var(--ink);font-weight:600} .bs .ink{fill:var(--ink)}
.bs .grid{stroke:var(--grid)} .bs .axis{stroke:var(--soft);stroke-opacity:.6}
.bs .bad{fill:var(--bad);opacity:.15} .bs .zone{fill:var(--best);opacity:.13}
.bs .limit{stroke:var(--limit);stroke-width:1.4;stroke-dasharray:5 3}
.bs .ruler{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:5 3}
.bs .halo{paint-order:stroke;stroke:var(--ground);stroke-width:4px;stroke-linejoin:round}
.bs .limit-text{fill:var(--limit)} .bs .best{stroke:var(--best);stroke-dasharray:2 3;stroke-width:1.4}
.bs .best-text{fill:var(--best);font-weight:600} .bs .ring{fill:none;stroke:var(--best);stroke-width:2.5}
.bs .line{fill:none;stroke-width:2;stroke-linejoin:round} .bs .law{fill:none;stroke-width:1.6;stroke-dasharray:6 4}
.bs .curve{fill:none;stroke-width:1.8} .bs .bar{fill:none;stroke-width:1.6} .bs .hit{fill:transparent}
.bs .hit:hover,.bs .hit.on{fill:var(--soft);fill-opacity:.2}
""".strip()


def svg(title: str, description: str, body: Sequence[str], frame: Frame = SMALL) -> str:
    """An SVG element of the frame's size with a title and a description for those who cannot see it."""
    return (
        f'<svg class="bs" xmlns="http://www.w3.org/2000/svg" role="img" width="{frame.width:g}" '
        f'height="{frame.height:g}" viewBox="0 0 {frame.width:g} {frame.height:g}"><title>{escape(title)}</title>'
        f"<desc>{escape(description)}</desc>{''.join(body)}</svg>"
    )


def empty(title: str, frame: Frame = SMALL, said: str = "no value is known") -> str:
    """A chart of nothing, which says so."""
    return svg(title, "nothing to draw", [text(frame.middle, frame.height / 2, said, anchor="middle")], frame)


def standalone(picture: str) -> str:
    """The chart as a file of its own: its style inside it."""
    head, close, rest = picture.partition(">")
    return f"{head}{close}<style>{CSS}</style>{rest}"


def text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """A text element; `text` is escaped. kind: its CSS class."""
    look = f' class="{kind}"' if kind else ""
    look += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{look}>{escape(text)}</text>'


def stroke(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line of the CSS class `kind`."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def hit(x: float, y: float, said: str, radius: float = 11) -> str:
    """A place that tells its value when it is pointed at; `said` is escaped."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.3g}" class="hit"><title>{escape(said)}</title></circle>'


def colour(i: int) -> str:
    """The i-th series' colour; nine, then again."""
    return f"var(--s{i % 9})"


def marker(x: float, y: float, i: int, *, hollow: bool = False) -> str:
    """The i-th series' mark: circle, square, triangle, diamond, so that colour is not all that tells them apart."""
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


def y_axis(ticks: Sequence[float], y: Scale, label: str, frame: Frame = SMALL) -> list[str]:
    """The upright axis: a grid line and a number per tick, the label above."""
    lines = "".join(f"M{frame.left:.1f} {y.at(tick):.1f}H{frame.right:g}" for tick in ticks)
    parts = [text(4, 14, label, "y"), f'<path d="{lines}" class="grid"/>']
    for tick, said in zip(ticks, _tick_texts(ticks, y), strict=True):
        parts.append(text(frame.left - 6, y.at(tick) + 4, said, anchor="end"))
    return parts


def _tick_texts(ticks: Sequence[float], y: Scale) -> list[str]:
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    return [f"{tick:,.10g}" if y.log else tick_text(tick, step) for tick in ticks]


def fitted(frame: Frame, ticks: Sequence[float], y: Scale) -> Frame:
    """The frame with room for the numbers of the upright axis."""
    longest = max((len(said) for said in _tick_texts(ticks, y)), default=0)
    return replace(frame, left=min(max(38.0, 12 + longest * CHARACTER), 96.0))


def x_axis(ticks: Sequence[tuple[float, str]], x: Scale, label: str, frame: Frame, *, grid: bool = False) -> list[str]:
    """The lower axis: a mark per tick, its text where there is room, the label below. grid: a line up from each."""
    lines = "".join(f"M{x.at(tick):.1f} {frame.bottom:g}V{frame.top:g}" for tick, _ in ticks)
    marks = "".join(f"M{x.at(tick):.1f} {frame.bottom:g}v4" for tick, _ in ticks)
    parts = [f'<path d="{lines}" class="grid"/>'] if grid else []
    parts.append(f'<path d="M{frame.left:.1f} {frame.bottom:g}H{frame.right:g}{marks}" class="axis"/>')
    last = -1e9
    for tick, said in ticks:
        half = len(said) * CHARACTER / 2
        if x.at(tick) - half >= last + 6:
            parts.append(text(x.at(tick), frame.bottom + 18, said, anchor="middle"))
            last = x.at(tick) + half
    return [*parts, text(frame.middle, frame.height - 7, label, anchor="middle")]


def apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """`places` moved as little as it takes to lie `gap` apart, in their order, between low and high if they fit."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[tuple[float, int]] = []  # the middle and the size of each pile of neighbours
    for i in order:
        middle, size = places[i], 1
        while groups and middle - groups[-1][0] < gap * (size + groups[-1][1]) / 2:
            other, n = groups.pop()
            middle, size = (middle * size + other * n) / (size + n), size + n
        half = gap * (size - 1) / 2
        groups.append((max(min(middle, high - half), low + half), size))
    moved = [middle + gap * (k - (size - 1) / 2) for middle, size in groups for k in range(size)]
    found = [0.0] * len(places)
    for i, place in zip(order, moved, strict=True):
        found[i] = place
    return found


def nice_ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About `n` ascending multiples of 1, 2 or 5 times a power of ten, the first <= low and the last >= high.

    Raises ValueError if low > high or either is not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"no ticks from {low} to {high}")
    if high - low <= max(abs(low), abs(high)) * 1e-9:
        high = low + (abs(low) or 1.0)
    step = _nice_step(max((high - low) / max(n, 1), 1e-300))  # a subnormal number has no power of ten
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    # the power of ten is divided by where it is small: 3 / 10 is the float 0.3, 3 * 0.1 is not
    power = math.floor(math.log10(step) + 1e-9)
    factor = round(step / 10.0**power)
    return [i * factor * 10**power if power >= 0 else i * factor / 10**-power for i in range(first, last + 1)]


def _nice_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))


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


def spaced(places: Sequence[float], gap: float) -> list[int]:
    """Indices of ascending `places` that can be labelled so that labels are `gap` apart; the first always."""
    chosen: list[int] = []
    for i, place in enumerate(places):
        if not chosen or place - places[chosen[-1]] >= gap:
            chosen.append(i)
    return chosen


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


@dataclass(frozen=True, slots=True)
class Line:
    """A curve through (x, y), both above 0, x ascending. told: hover values every so many points; 0: none."""

    name: str
    points: tuple[tuple[float, float], ...]
    told: int = 1
    step: bool = False


@dataclass(frozen=True, slots=True)
class Ruler:
    """A level line at y, named at the right."""

    name: str
    y: float


def xy_chart(
    lines: Sequence[Line],
    rulers: Sequence[Ruler],
    *,
    title: str,
    x_label: str,
    y_label: str,
    show_x: Callable[[float], str],
    show_y: Callable[[float], str] = number,
    frame: Frame = SMALL,
) -> str:
    """Both axes logarithmic. Rulers outside the lines' range widen it."""
    points = [p for line in lines for p in line.points]
    if not points:
        return empty(title, frame)
    heights = [y for _, y in points] + [one.y for one in rulers]
    xs = log_ticks(min(x for x, _ in points), max(x for x, _ in points) * (1 + 1e-6))
    ys = log_ticks(min(heights), max(heights) * (1 + 1e-6))
    x = Scale(min(x for x, _ in points), max(x for x, _ in points), frame.left, frame.right, log=True)
    y = Scale(ys[0], ys[-1], frame.bottom, frame.top, log=True)
    inside = [(tick, show_x(tick)) for tick in xs if x.low * 0.999 <= tick <= x.high * 1.001]
    body = [text(4, 14, y_label, "y")]
    last = 1e9
    for tick in ys:
        body.append(stroke(frame.left, y.at(tick), frame.right, y.at(tick), "grid"))
        if last - y.at(tick) >= 15:
            body.append(text(frame.left - 6, y.at(tick) + 4, show_y(tick), anchor="end"))
            last = y.at(tick)
    body += x_axis(inside, x, x_label, frame)
    ruled, names = _rulers(rulers, y, frame)
    body += ruled
    for i, line in enumerate(lines):
        body += _line(line, i, x, y, show_x, show_y)
    body += names
    body += _xy_legend([line.name for line in lines], frame)
    said = "; ".join(f"{one.name} {show_y(one.y)}" for one in rulers)
    return svg(title, f"{y_label} over {x_label}. {said}", body, frame)


def _rulers(rulers: Sequence[Ruler], y: Scale, frame: Frame) -> tuple[list[str], list[str]]:
    """The level lines, and their names, which are to be drawn above the curves."""
    heights = apart([y.at(one.y) - 5 for one in rulers], 14, frame.top, frame.bottom - 4)
    lines, names = [], []
    for one, height in zip(rulers, heights, strict=True):
        line = stroke(frame.left, y.at(one.y), frame.right, y.at(one.y), "ruler")
        lines.append(f"<g>{line}<title>{escape(one.name)}</title></g>")
        names.append(text(frame.right - 2, height, one.name, "ink halo", "end"))
    return lines, names


def _line(
    line: Line, i: int, x: Scale, y: Scale, show_x: Callable[[float], str], show_y: Callable[[float], str]
) -> list[str]:
    (first_x, first_y), *rest = line.points
    path = f"M{x.at(first_x):.1f} {y.at(first_y):.1f}"
    for at_x, at_y in rest:
        path += f"H{x.at(at_x):.1f}V{y.at(at_y):.1f}" if line.step else f"L{x.at(at_x):.1f} {y.at(at_y):.1f}"
    parts = [f'<path d="{path}" class="line" stroke="{colour(i)}"/>']
    for at_x, at_y in line.points[:: line.told] if line.told else ():
        parts.append(hit(x.at(at_x), y.at(at_y), f"{line.name} at {show_x(at_x)}: {show_y(at_y)}", 7))
    return parts


def _xy_legend(names: Sequence[str], frame: Frame) -> list[str]:
    parts, left = [], frame.left
    for i, name in enumerate(names):
        mark = f'<line x1="{left:.1f}" x2="{left + 14:.1f}" y1="30" y2="30" stroke="{colour(i)}" stroke-width="2.5"/>'
        parts += [mark, text(left + 19, 34, name)]
        left += len(name) * CHARACTER + 34
    return parts


_ALL_POINTS = (1200, 640)  # of all curves together, where they are few and many: the page stays small
_CURVE_POINTS = (20, 200)  # of one curve, at least and at most
_TOLD = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)  # shares whose value can be pointed at
_FEW = (0.5, 0.95)  # where the curves are many
_MOST_NAMES = 8


def ecdf_chart(
    samples: Sequence[tuple[str, Sequence[float]]],
    *,
    title: str,
    x_label: str,
    unit: str = "ms",
    limits: Sequence[Limit] = (),
    frame: Frame = SMALL,
) -> str:
    """The share of requests at or below a value, a curve per sample, on a log axis. Values <= 0 are left out.

    limits: drawn upright at their `y`, which is on the value axis. unit: of the values, in what they tell.
    """
    curves = [(name, sorted(v for v in values if v > 0)) for name, values in samples]
    curves = [(name, values) for name, values in curves if values]
    if not curves:
        return empty(title, frame)
    low, high = min(v[0] for _, v in curves), max(v[-1] for _, v in curves)
    ticks = _ticks(low, high)
    x = Scale(min(low, ticks[0]), max(high, ticks[-1]), frame.left, frame.right - 6, log=True)
    y = Scale(0.0, 1.0, frame.bottom, frame.top - 18)
    most = max(_CURVE_POINTS[0], min(_CURVE_POINTS[1], _ALL_POINTS[len(curves) > _MOST_NAMES] // len(curves)))
    raised = Frame(frame.width, frame.height, frame.left, frame.right_margin, frame.top - 18, frame.bottom_margin)
    shades = [ramp(i, len(curves)) for i in range(len(curves))]
    named = range(0, len(curves), -(-len(curves) // _MOST_NAMES))
    body = [
        *y_axis([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], y, "share of requests", frame),
        *x_axis([(tick, f"{tick:,g}") for tick in ticks], x, x_label, raised, grid=True),
        *(part for limit in limits if x.low < limit.y < x.high for part in _upright(limit, x, frame)),
        *(_curve(name, values, shade, most, x, y) for (name, values), shade in zip(curves, shades, strict=True)),
        *(part for name, values in curves for part in _told(name, values, len(curves), unit, x, y)),
        *(_name(*curves[i], rank, len(named), x, y) for rank, i in enumerate(named)),
    ]
    return svg(title, f"{len(curves)} curves: {', '.join(name for name, _ in curves)}", body, frame)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high; about even steps where all lie within a decade, ones around them at need."""
    inside = [tick for tick in log_ticks(low, high) if low <= tick <= high]
    if len(inside) < 4 and high >= 10 * low:  # powers of ten alone are few here
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        inside = [tick for power in powers for f in (1, 2, 5) if low <= (tick := f * 10.0**power) <= high]
    elif len(inside) < 4:
        inside = [tick for tick in nice_ticks(low, high, 5) if low <= tick <= high]
    return inside if len(inside) > 1 else log_ticks(low, high * (1 + 1e-6))


def quantile(ascending: Sequence[float], share: float) -> float:
    """An observed value: the smallest with at least `share` of the sample at or below it."""
    n = len(ascending)
    return ascending[min(n - 1, max(0, -int(-share * n // 1) - 1))]


def ramp(i: int, n: int) -> str:
    """The colour of the i-th of n levels, from light to dark."""
    return f"var(--r{round(5 * i / (n - 1)) if n > 1 else 3})"


def _curve(name: str, values: Sequence[float], colour: str, most: int, x: Scale, y: Scale) -> str:
    """A step curve through at most `most` quantiles of the ascending values, in steps of a tenth of a pixel."""
    n = len(values)
    ranks = sorted({round(k * (n - 1) / (most - 1)) for k in range(most)}) if n > 1 else [0]
    at_x, at_y = round(10 * x.at(values[0])), round(10 * y.at(0.0))
    path = f"M{at_x / 10:g} {at_y / 10:g}"
    for rank in ranks:
        to_x, to_y = round(10 * x.at(values[rank])), round(10 * y.at((rank + 1) / n))
        path += (f"h{(to_x - at_x) / 10:g}" if to_x != at_x else "") + (
            f"v{(to_y - at_y) / 10:g}" if to_y != at_y else ""
        )
        at_x, at_y = to_x, to_y
    said = escape(f"{name} users: median {number(quantile(values, 0.5))}, n {n:,}")
    return f'<path d="{path}" class="curve" stroke="{colour}"><title>{said}</title></path>'


def _told(name: str, values: Sequence[float], n_curves: int, unit: str, x: Scale, y: Scale) -> list[str]:
    """Places on the curve that tell their percentile, as far as ten observations lie beyond it."""
    n = len(values)
    shares = [share for share in (_TOLD if n_curves <= _MOST_NAMES else _FEW) if min(share, 1 - share) * n >= 10]
    parts = []
    for share in shares or [0.5]:
        value = quantile(values, share)
        parts.append(hit(x.at(value), y.at(share), f"{name} users: p{round(share * 100)} {number(value)} {unit}", 6))
    return parts


def _upright(limit: Limit, x: Scale, frame: Frame) -> list[str]:
    at, top = x.at(limit.y), frame.top - 18
    near_left = at - frame.left < len(limit.label) * CHARACTER
    place = text(at + 5, top + 12, limit.label, "limit-text halo", "start")
    if not near_left:
        place = text(at - 5, top + 12, limit.label, "limit-text halo", "end")
    return [stroke(at, top, at, frame.bottom, "limit"), place]


def _name(name: str, values: Sequence[float], i: int, n: int, x: Scale, y: Scale) -> str:
    """The name on its own curve, each at a height of its own so that neighbours do not meet."""
    share = 0.88 - 0.76 * i / (n - 1) if n > 1 else 0.5
    return text(x.at(quantile(values, share)), y.at(share) + 4, name, "y halo", "middle")
