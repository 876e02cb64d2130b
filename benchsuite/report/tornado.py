"""A tornado as SVG text: how far each input alone moves a cost, the widest first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from benchsuite.report.axes import Scale, nice_ticks
from benchsuite.report.svg import CHARACTER, Frame, colour, empty, stroke, svg, text, x_axis

_ROW = 44.0


@dataclass(frozen=True, slots=True)
class Bar:
    """An input's name, what its ends are called, and the cost at either end."""

    name: str
    low_name: str
    high_name: str
    at_low: float
    at_high: float


def tornado_chart(
    bars: Sequence[Bar], base: float, *, title: str, x_label: str, show: Callable[[float], str], width: float = 380
) -> str:
    """A bar per input from the cost at its low end to that at its high end, around the line of the base."""
    height = 34 + _ROW * len(bars) + 46
    left, right = (12 + CHARACTER * max((len(_ends(bar)[k][1]) for bar in bars), default=0) for k in (0, 1))
    frame = Frame(width, height, left, right, 34, 46)
    if not bars:
        return empty(title, frame)
    values = [base, *(v for bar in bars for v in (bar.at_low, bar.at_high))]
    low, high = min(values), max(values)
    x = Scale(low, high, frame.left, frame.right)
    ticks = [tick for tick in nice_ticks(low, high, 4) if low <= tick <= high]
    body = x_axis([(tick, show(tick)) for tick in ticks], x, x_label, frame, grid=True)
    body += [
        stroke(x.at(base), frame.top - 8, x.at(base), frame.bottom, "best"),
        text(min(max(x.at(base), 40), width - 40), frame.top - 14, f"now {show(base)}", "best-text", "middle"),
    ]
    for k, bar in enumerate(bars):
        body += _bar(bar, base, x, frame.top + k * _ROW, show)
    said = "; ".join(f"{b.name}: {show(b.at_low)} at {b.low_name}, {show(b.at_high)} at {b.high_name}" for b in bars)
    return svg(title, said, body, frame)


def _ends(bar: Bar) -> list[tuple[float, str]]:
    """Its costs with their names, the lower first."""
    return sorted([(bar.at_low, bar.low_name), (bar.at_high, bar.high_name)])


def _bar(bar: Bar, base: float, x: Scale, top: float, show: Callable[[float], str]) -> list[str]:
    (least, least_name), (most, most_name) = _ends(bar)
    said = escape(f"{bar.name}: {show(bar.at_low)} at {bar.low_name}, {show(bar.at_high)} at {bar.high_name}")
    parts = [text(8, top + 12, bar.name, "ink halo")]
    for left, right, i in ((least, min(base, most), 2), (max(base, least), most, 1)):
        if right > left:
            width = x.at(right) - x.at(left)
            parts.append(
                f'<rect x="{x.at(left):.1f}" y="{top + 18:.1f}" width="{width:.1f}" height="14" fill="{colour(i)}" '
                f'fill-opacity=".75"/>'
            )
    if least < base:
        parts.append(text(x.at(least) - 4, top + 29, least_name, "halo", "end"))
    if most > base:
        parts.append(text(x.at(most) + 4, top + 29, most_name, "halo"))
    place = f'x="{x.at(least):.1f}" y="{top + 18:.1f}" width="{max(x.at(most) - x.at(least), 4):.1f}" height="14"'
    return [*parts, f'<rect {place} class="hit"><title>{said}</title></rect>']
