"""The parts that SVG charts are made of: the frame, text, strokes, the value axis, the colours. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchsuite.report.axes import Scale, tick_text

WIDTH, HEIGHT = 460, 290
LEFT, RIGHT, TOP, BOTTOM = 58, 446, 50, 244  # of the plot
CHARACTER = 6.3  # mean width at 12 px

# Okabe and Ito's colours, which the colour-blind tell apart; the ramp is one hue from light to dark
CSS = """
.bs{--ink:#1b2330;--soft:#5b6675;--grid:#e3e7ec;--ground:#ffffff;--bad:#8a93a0;--limit:#b3261e;--best:#00795a;
--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#cc79a7;--r0:#86bfe3;--r1:#5aa3d4;--r2:#3386c0;--r3:#1a69a6;--r4:#0d4d84;
--r5:#08325c}
@media (prefers-color-scheme:dark){.bs{--ink:#e6eaf0;--soft:#a3adba;--grid:#2c3440;--ground:#161b22;--bad:#7d8794;
--limit:#ff8a80;--best:#4fd1a5;--s0:#56b4e9;--s1:#f0954b;--s2:#37c59b;--s3:#e39ac2;--r0:#2f6ea3;--r1:#3f87be;
--r2:#58a2d6;--r3:#7dbce6;--r4:#a7d4f1;--r5:#d6ecfa}}
@media print{.bs{--ink:#000;--soft:#444;--grid:#ddd;--ground:#fff;--bad:#8a93a0;--limit:#b3261e;--best:#00795a;
--s0:#0072b2;--s1:#d55e00;--r0:#86bfe3;--r1:#5aa3d4;--r2:#3386c0;--r3:#1a69a6;--r4:#0d4d84;--r5:#08325c}}
.bs text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--soft)}
.bs .y{fill:var(--ink);font-weight:600}
.bs .grid{stroke:var(--grid)} .bs .axis{stroke:var(--soft)}
.bs .bad{fill:var(--bad);opacity:.16} .bs .limit{stroke:var(--limit);stroke-dasharray:5 3}
.bs .halo{paint-order:stroke;stroke:var(--ground);stroke-width:4px;stroke-linejoin:round}
.bs .limit-text{fill:var(--limit)} .bs .best{stroke:var(--best);stroke-dasharray:2 3}
.bs .best-text{fill:var(--best);font-weight:600} .bs .ring{fill:none;stroke:var(--best);stroke-width:2.5}
.bs .line{fill:none;stroke-width:2} .bs .curve{fill:none;stroke-width:1.8} .bs .hit{fill:transparent}
.bs .hit:hover{fill:var(--soft);fill-opacity:.18}
""".strip()


def svg(title: str, description: str, body: Sequence[str]) -> str:
    """An SVG element of WIDTH x HEIGHT with a title and a description for those who cannot see it."""
    return (
        f'<svg class="bs" xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}"><title>{escape(title)}</title><desc>{escape(description)}</desc>'
        + "".join(body)
        + "</svg>"
    )


def text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """A text element; `text` is escaped. kind: its CSS class."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def stroke(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line of the CSS class `kind`."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def y_axis(ticks: Sequence[float], y: Scale, label: str) -> list[str]:
    """The upright axis: a grid line and a number per tick, the label above."""
    step = ticks[1] - ticks[0]
    parts = [text(4, 14, label, "y")]
    for tick in ticks:
        parts.append(stroke(LEFT, y.at(tick), RIGHT, y.at(tick), "grid"))
        parts.append(text(LEFT - 6, y.at(tick) + 4, tick_text(tick, step), anchor="end"))
    return parts
