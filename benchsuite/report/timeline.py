"""What happened at one point, panels over one clock, as SVG text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchsuite.report.axes import Scale, nice_ticks, tick_text
from benchsuite.report.svg import CHARACTER, Frame, colour, empty, stroke, svg, text, x_axis
from benchsuite.report.words import number

PANEL, GAP, HEAD, FOOT = 78.0, 36.0, 30.0, 44.0
WIDE, NARROW = 1080.0, 380.0


@dataclass(frozen=True, slots=True)
class Trace:
    """One quantity over time. at_s ascending; None: not known then. step: it holds until the next value."""

    name: str
    at_s: tuple[float, ...]
    values: tuple[float | None, ...]
    step: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Quantities that share an upright axis, whose top is at least `top`."""

    label: str
    traces: tuple[Trace, ...]
    top: float = 0.0


def timeline_chart(
    panels: Sequence[Panel],
    *,
    title: str,
    start_s: float,
    end_s: float,
    steady: tuple[float, float] | None = None,
    width: float = WIDE,
) -> str:
    """Panels under each other over the seconds from start_s to end_s. steady: shaded as the steady window."""
    height = HEAD + len(panels) * (PANEL + GAP) + FOOT - GAP
    frame = Frame(width, height, 54, 14, HEAD, FOOT)
    if not panels or end_s <= start_s:
        return empty(title, frame, "nothing was recorded")
    x = Scale(start_s, end_s, frame.left, frame.right)
    body = _steady(steady, x, frame)
    for k, panel in enumerate(panels):
        body += _panel(panel, x, HEAD + k * (PANEL + GAP), frame)
    ticks = [tick for tick in nice_ticks(start_s, end_s, 10 if width > 600 else 5) if start_s <= tick <= end_s]
    body += x_axis([(tick, f"{tick:g}") for tick in ticks], x, "seconds since the first request of the run", frame)
    body += _columns(panels, x, frame)
    said = "; ".join(f"{p.label}: {', '.join(t.name for t in p.traces)}" for p in panels)
    return svg(title, f"{len(panels)} panels over {number(end_s - start_s)} s: {said}", body, frame)


def _steady(steady: tuple[float, float] | None, x: Scale, frame: Frame) -> list[str]:
    if steady is None:
        return []
    left, right = x.at(max(steady[0], x.low)), x.at(min(steady[1], x.high))
    size = f'width="{right - left:.1f}" height="{frame.bottom - frame.top:g}"'
    return [f'<rect x="{left:.1f}" y="{frame.top:g}" {size} class="zone"/>']


def _panel(panel: Panel, x: Scale, top: float, frame: Frame) -> list[str]:
    known = [v for trace in panel.traces for v in trace.values if v is not None]
    ticks = nice_ticks(0.0, max([panel.top, *known]) or 1.0, 2)
    y = Scale(0.0, ticks[-1], top + PANEL, top)
    parts = [text(4, top - 12, panel.label, "y")]
    for tick in ticks:
        parts.append(stroke(frame.left, y.at(tick), frame.right, y.at(tick), "grid"))
        parts.append(text(frame.left - 6, y.at(tick) + 4, tick_text(tick, ticks[1] - ticks[0]), anchor="end"))
    parts.append(stroke(frame.left, top + PANEL, frame.right, top + PANEL, "axis"))
    right = frame.right
    for i, trace in reversed(list(enumerate(panel.traces))):
        parts.append(f'<path d="{_path(trace, x, y)}" class="curve" stroke="{colour(i)}"/>')
        if len(panel.traces) > 1:
            right -= len(trace.name) * CHARACTER
            parts.append(text(right, top - 12, trace.name))
            right -= 18
            parts.append(f'<line x1="{right:.1f}" x2="{right + 13:.1f}" y1="{top - 16:.1f}" y2="{top - 16:.1f}" ')
            parts.append(f'stroke="{colour(i)}" stroke-width="2.5"/>')
            right -= 12
    return parts


def _path(trace: Trace, x: Scale, y: Scale) -> str:
    path, pen_up, height = "", True, ""
    for at_s, value in zip(trace.at_s, trace.values, strict=True):
        if value is None:
            pen_up = True
            continue
        at, before, height = f"{x.at(at_s):.1f}", height, f"{y.at(value):.1f}"
        if pen_up:
            path += f"M{at} {height}"
        elif trace.step:
            path += f"H{at}" + (f"V{height}" if height != before else "")
        else:
            path += f"L{at} {height}" if height != before else f"H{at}"
        pen_up = False
    return path


def _columns(panels: Sequence[Panel], x: Scale, frame: Frame) -> list[str]:
    """Upright strips that tell every quantity at their time: the hover values of all panels at once."""
    n = 48 if frame.width > 600 else 24
    step = (x.high - x.low) / n
    parts = []
    for k in range(n):
        at_s = x.low + (k + 0.5) * step
        told = [
            f"{trace.name} {number(value)}"
            for panel in panels
            for trace in panel.traces
            if (value := _at(trace, at_s)) is not None
        ]
        said = escape(f"at {number(at_s)} s: {', '.join(told)}")
        left, right = x.at(x.low + k * step), x.at(x.low + (k + 1) * step)
        size = f'width="{right - left:.1f}" height="{frame.bottom - frame.top:g}"'
        parts.append(f'<rect x="{left:.1f}" y="{frame.top:g}" {size} class="hit"><title>{said}</title></rect>')
    return parts


def _at(trace: Trace, at_s: float) -> float | None:
    """The last value not after at_s; for what is not a step the nearer neighbour. None before the first."""
    before = [i for i, t in enumerate(trace.at_s) if t <= at_s]
    if not before:
        return None
    i = before[-1]
    if not trace.step and i + 1 < len(trace.at_s) and trace.at_s[i + 1] - at_s < at_s - trace.at_s[i]:
        i += 1
    return trace.values[i]
