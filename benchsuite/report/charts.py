"""SVG charts as text: pure functions of values. Colours are CSS variables, so that a page can be dark.

Concurrency is on a log-2 axis with a tick at every measured level. Points carry their value as a hover title.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchsuite.report.axes import Scale, log_ticks, nice_ticks, spaced
from benchsuite.report.svg import BOTTOM, CHARACTER, HEIGHT, LEFT, RIGHT, TOP, stroke, svg, text, y_axis
from benchsuite.report.words import number

_FAR = 2.5  # a limit beyond this many times the data is named, not drawn to scale
_CURVE_POINTS = 200


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a level, with its interval where it has one. y None: not known, so not drawn."""

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points ascending in x, and their name in the legend."""

    name: str
    points: tuple[Point, ...]


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
) -> str:
    """Lines with points over the concurrency level, from zero up.

    infeasible: levels to shade. optimum: the level to mark, with a ring on the first series.
    """
    levels = sorted({p.x for one in series for p in one.points})
    tops = [v for one in series for p in one.points for v in (p.y, p.high) if v is not None]
    if not levels or not tops:
        return svg(title, "nothing to draw", [text(LEFT, HEIGHT / 2, "no value is known")])
    top = max(tops)
    near = [limit for limit in limits if limit.y <= _FAR * top]
    ticks = nice_ticks(0.0, max([top, *(limit.y for limit in near)]) or 1.0)
    x = Scale(levels[0], levels[-1], LEFT + 22, RIGHT - 22, log=True)
    y = Scale(0.0, ticks[-1], BOTTOM, TOP)
    body = [
        *_shades(levels, x, infeasible),
        *y_axis(ticks, y, y_label),
        *_x_axis(levels, x, x_label),
        *_legend([one.name for one in series] if len(series) > 1 else [], near, y_label),
        *_optimum(optimum, levels, x, y, infeasible, series[0]),
        *(_limit_line(limit, y) for limit in near),
        *(part for i, one in enumerate(series) for part in _points(one, i, x, y)),
        *_far_limits([limit for limit in limits if limit not in near]),
    ]
    return svg(title, _describe(series, y_label), body)


def ecdf_chart(
    samples: Sequence[tuple[str, Sequence[float]]],
    *,
    title: str,
    x_label: str,
    limits: Sequence[Limit] = (),
) -> str:
    """The share of requests at or below a value, a curve per sample, on a log axis. Values <= 0 are left out.

    limits: drawn upright at their `y`, which is on the value axis.
    """
    curves = [(name, sorted(v for v in values if v > 0)) for name, values in samples]
    curves = [(name, values) for name, values in curves if values]
    if not curves:
        return svg(title, "nothing to draw", [text(LEFT, HEIGHT / 2, "no value is known")])
    low, high = min(v[0] for _, v in curves), max(v[-1] for _, v in curves)
    inside = [tick for tick in log_ticks(low, high) if low <= tick <= high]
    ticks = inside if len(inside) > 1 else log_ticks(low, high * (1 + 1e-6))
    x = Scale(min(low, ticks[0]), max(high, ticks[-1]), LEFT, RIGHT - 6, log=True)
    y = Scale(0.0, 1.0, BOTTOM, TOP - 18)
    body = [
        *y_axis([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], y, "share of requests"),
        *_value_axis(ticks, x, x_label, TOP - 18),
        *(part for limit in limits if x.low < limit.y < x.high for part in _upright(limit, x)),
        *(_curve(name, values, _ramp(i, len(curves)), x, y) for i, (name, values) in enumerate(curves)),
        *(_curve_label(name, values, i, len(curves), x, y) for i, (name, values) in enumerate(curves)),
    ]
    return svg(title, f"{len(curves)} curves: {', '.join(name for name, _ in curves)}", body)


def _describe(series: Sequence[Series], y_label: str) -> str:
    lines = [
        f"{one.name}: " + ", ".join(f"{number(p.y)} at {p.x:g}" for p in one.points if p.y is not None)
        for one in series
    ]
    return f"{y_label}. " + "; ".join(lines)


def _x_axis(levels: Sequence[float], x: Scale, label: str) -> list[str]:
    parts = [stroke(LEFT, BOTTOM, RIGHT, BOTTOM, "axis")]
    parts += [stroke(x.at(level), BOTTOM, x.at(level), BOTTOM + 4, "axis") for level in levels]
    shown = spaced([x.at(level) for level in levels], 26)
    parts += [text(x.at(levels[i]), BOTTOM + 18, f"{levels[i]:g}", anchor="middle") for i in shown]
    return [*parts, text((LEFT + RIGHT) / 2, HEIGHT - 8, label, anchor="middle")]


def _value_axis(ticks: Sequence[float], x: Scale, label: str, top: float) -> list[str]:
    parts = [stroke(x.at(tick), BOTTOM, x.at(tick), top, "grid") for tick in ticks]
    shown = spaced([x.at(tick) for tick in ticks], 34)
    parts += [text(x.at(ticks[i]), BOTTOM + 18, f"{ticks[i]:,g}", anchor="middle") for i in shown]
    return [*parts, text((LEFT + RIGHT) / 2, HEIGHT - 8, label, anchor="middle")]


def _legend(names: Sequence[str], limits: Sequence[Limit], y_label: str) -> list[str]:
    """Series and limits named in the row of the axis label, from the right, as far as there is room."""
    entries = [(name, f'<circle cx="6" cy="10" r="4" fill="var(--s{i % 4})"/>') for i, name in enumerate(names)]
    entries += [(limit.label, stroke(0, 10, 13, 10, "limit")) for limit in limits]
    parts, right, taken = [], float(RIGHT), len(y_label) * CHARACTER * 1.1
    for name, mark in reversed(entries):
        left = right - len(name) * CHARACTER - 19
        if left < taken:
            break
        parts.append(f'<g transform="translate({left:.1f} 0)">{mark}{text(17, 14, name)}</g>')
        right = left - 10
    return parts


def _band(level: float, levels: Sequence[float], x: Scale) -> tuple[float, float]:
    """From half way to the level below to half way to the level above, in pixels."""
    i = levels.index(level)
    here = x.at(level)
    left = (x.at(levels[i - 1]) + here) / 2 if i else float(LEFT)
    right = (x.at(levels[i + 1]) + here) / 2 if i + 1 < len(levels) else float(RIGHT)
    return left, right


def _shades(levels: Sequence[float], x: Scale, infeasible: Sequence[float]) -> list[str]:
    areas: list[tuple[float, float]] = []
    for level in (one for one in levels if one in infeasible):
        left, right = _band(level, levels, x)
        if areas and areas[-1][1] >= left - 0.01:
            areas[-1] = (areas[-1][0], right)
        else:
            areas.append((left, right))
    parts = [
        f'<rect x="{left:.1f}" y="{TOP - 18}" width="{right - left:.1f}" height="{BOTTOM - TOP + 18}" class="bad"/>'
        for left, right in areas
    ]
    widest = max(areas, key=lambda area: area[1] - area[0], default=(0.0, 0.0))
    label = next((t for t in ("misses the SLO", "misses") if len(t) * CHARACTER < widest[1] - widest[0]), "")
    return [*parts, text(sum(widest) / 2, TOP - 6, label, anchor="middle")] if label else parts


def _optimum(
    level: float | None, levels: Sequence[float], x: Scale, y: Scale, infeasible: Sequence[float], first: Series
) -> list[str]:
    if level is None or level not in levels:
        return []
    label, here = f"optimum {level:g}", x.at(level)
    half = len(label) * CHARACTER / 2 + 4
    # its neighbours' shades carry a label of their own at this height
    middle = min(here, _band(level, levels, x)[1] - half) if any(one > level for one in infeasible) else here
    middle = min(max(middle, LEFT + half), RIGHT - half)
    parts = [stroke(here, TOP, here, BOTTOM, "best"), text(middle, TOP - 6, label, "best-text", "middle")]
    value = next((p.y for p in first.points if p.x == level), None)
    if value is not None:
        parts.append(f'<circle cx="{here:.1f}" cy="{y.at(value):.1f}" r="8.5" class="ring"/>')
    return parts


def _limit_line(limit: Limit, y: Scale) -> str:
    line = stroke(LEFT, y.at(limit.y), RIGHT, y.at(limit.y), "limit")
    return f"<g>{line}<title>{escape(limit.label)}</title></g>"


def _far_limits(limits: Sequence[Limit]) -> list[str]:
    return [
        text(RIGHT - 4, TOP + 14 + 16 * i, f"{limit.label}: far above", "limit-text halo", "end")
        for i, limit in enumerate(limits)
    ]


def _points(one: Series, index: int, x: Scale, y: Scale) -> list[str]:
    colour = f"var(--s{index % 4})"
    known = [(p, p.y) for p in one.points if p.y is not None]
    path = " ".join(f"{x.at(p.x):.1f},{y.at(value):.1f}" for p, value in known)
    parts = [f'<polyline points="{path}" class="line" stroke="{colour}"/>']
    for p, value in known:
        if p.low is not None and p.high is not None:
            bar = f'x1="{x.at(p.x):.1f}" x2="{x.at(p.x):.1f}" y1="{y.at(p.low):.1f}" y2="{y.at(p.high):.1f}"'
            parts.append(f'<line {bar} stroke="{colour}" stroke-width="2"/>')
        said = escape(f"{one.name} at {p.x:g}: {number(value)}")
        place = f'cx="{x.at(p.x):.1f}" cy="{y.at(value):.1f}"'
        parts.append(f'<circle {place} r="4" fill="{colour}"/>')
        parts.append(f'<circle {place} r="12" class="hit"><title>{said}</title></circle>')
    return parts


def _upright(limit: Limit, x: Scale) -> list[str]:
    at = x.at(limit.y)
    return [
        stroke(at, TOP - 18, at, BOTTOM, "limit"),
        text(at - 4, TOP - 4, limit.label, "limit-text halo", "end"),
    ]


def _ramp(i: int, n: int) -> str:
    return f"var(--r{round(5 * i / (n - 1)) if n > 1 else 3})"


def _curve(name: str, values: Sequence[float], colour: str, x: Scale, y: Scale) -> str:
    """A step curve through at most 200 quantiles of the ascending `values`."""
    n = len(values)
    ranks = sorted({round(k * (n - 1) / (_CURVE_POINTS - 1)) for k in range(_CURVE_POINTS)}) if n > 1 else [0]
    steps = "".join(f"H{x.at(values[rank]):.1f}V{y.at((rank + 1) / n):.1f}" for rank in ranks)
    path = f"M{x.at(values[0]):.1f} {y.at(0.0):.1f}{steps}"
    middle = number(values[(n - 1) // 2])
    said = escape(f"{name}: median {middle}, n {n}")
    return f'<path d="{path}" class="curve" stroke="{colour}"><title>{said}</title></path>'


def _curve_label(name: str, values: Sequence[float], i: int, n: int, x: Scale, y: Scale) -> str:
    """The name on its own curve, each at a height of its own so that neighbours do not meet."""
    share = 0.88 - 0.76 * i / (n - 1) if n > 1 else 0.5
    value = values[min(len(values) - 1, int(share * len(values)))]
    return text(x.at(value), y.at(share) + 4, name, "y halo", "middle")
