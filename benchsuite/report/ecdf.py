"""Empirical distribution functions as SVG text: one curve per level, on a log axis. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchsuite.report.axes import Scale, log_ticks, nice_ticks
from benchsuite.report.charts import Limit
from benchsuite.report.svg import CHARACTER, SMALL, Frame, empty, hit, stroke, svg, text, x_axis, y_axis
from benchsuite.report.words import number

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
