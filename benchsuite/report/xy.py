"""Lines over a demand, as SVG text: staircases and rulers on log axes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from benchsuite.report.axes import Scale, log_ticks
from benchsuite.report.svg import CHARACTER, SMALL, Frame, apart, colour, empty, hit, stroke, svg, text, x_axis
from benchsuite.report.words import number


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
    body += _legend([line.name for line in lines], frame)
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


def _legend(names: Sequence[str], frame: Frame) -> list[str]:
    parts, left = [], frame.left
    for i, name in enumerate(names):
        mark = f'<line x1="{left:.1f}" x2="{left + 14:.1f}" y1="30" y2="30" stroke="{colour(i)}" stroke-width="2.5"/>'
        parts += [mark, text(left + 19, 34, name)]
        left += len(name) * CHARACTER + 34
    return parts
