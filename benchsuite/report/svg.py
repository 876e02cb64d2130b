"""The parts that SVG charts are made of: the frame, text, strokes, the value axis, the colours. Pure.

Charts carry no script: every value stands in a `<title>`, which browsers show on hover. The page's script, where it
may run, reads the same titles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise

from benchsuite.report.axes import Scale, tick_text

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
