"""What a total is made of, a bar per level, as SVG text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchsuite.report.axes import Scale, nice_ticks
from benchsuite.report.svg import CHARACTER, SMALL, Frame, colour, empty, fitted, stroke, svg, text, y_axis
from benchsuite.report.words import number


def stack_chart(
    levels: Sequence[int],
    parts: Sequence[tuple[str, Sequence[float | None]]],
    *,
    title: str,
    y_label: str,
    frame: Frame = SMALL,
) -> str:
    """parts: each one's name and its value at every level, the lowest of the bar first. None and below 0: not drawn."""
    tops = [sum(max(values[i] or 0.0, 0.0) for _, values in parts) for i in range(len(levels))]
    if not tops or max(tops) <= 0:
        return empty(title, frame)
    ticks = nice_ticks(0.0, max(tops))
    y = Scale(0.0, ticks[-1], frame.bottom, frame.top)
    frame = fitted(frame, ticks, y)
    slot = (frame.right - frame.left) / len(levels)
    wide = min(slot * 0.62, 44)
    body = y_axis(ticks, y, y_label, frame)
    for i, level in enumerate(levels):
        middle, height = frame.left + (i + 0.5) * slot, 0.0
        for k, (name, values) in enumerate(parts):
            value = values[i]
            if value is None or value <= 0:
                continue
            top, bottom = y.at(height + value), y.at(height)
            place = f'x="{middle - wide / 2:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{bottom - top:.2f}"'
            said = escape(f"{name} at {level}: {number(value)}")
            body.append(f'<rect {place} fill="{colour(k)}"/><rect {place} class="hit"><title>{said}</title></rect>')
            height += value
        if len(levels) <= 12 or i % 2 == 0:
            body.append(text(middle, frame.bottom + 18, f"{level}", anchor="middle"))
    body += [
        stroke(frame.left, frame.bottom, frame.right, frame.bottom, "axis"),
        text(frame.middle, frame.height - 7, "concurrency (virtual users)", anchor="middle"),
        *_legend([name for name, _ in parts]),
    ]
    said = "; ".join(
        f"{name}: {', '.join(f'{number(v)} at {n}' for n, v in zip(levels, values, strict=True) if v is not None)}"
        for name, values in parts
    )
    return svg(title, f"{y_label}. {said}", body, frame)


def _legend(names: Sequence[str]) -> list[str]:
    parts, left = [], 4.0
    for k, name in enumerate(names):
        parts.append(f'<rect x="{left:.1f}" y="25" width="10" height="10" fill="{colour(k)}"/>')
        parts.append(text(left + 14, 34, name))
        left += 14 + len(name) * CHARACTER + 12
    return parts
