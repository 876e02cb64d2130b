"""The frontier as a picture (the paper's figure 1): cost against score, bubbles as large as the models. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchsuite.economics.frontier import Placed
from benchsuite.report.axes import Scale, log_ticks, nice_ticks
from benchsuite.report.svg import CHARACTER, Frame, empty, standalone, stroke, svg, text, x_axis, y_axis
from benchsuite.report.words import number, usd

_RADIUS = 15.0  # of the largest model
_SMALL = 4.0  # of a model whose parameters are not known
FRAME = Frame(560, 380, 50, 18, 34, 46)
NARROW = Frame(380, 380, 46, 12, 34, 46)


def frontier_chart(placed: Sequence[Placed], *, title: str) -> str:
    """The same picture as a file of its own, with its style inside it."""
    return standalone(frontier_picture(placed, title=title))


def frontier_picture(placed: Sequence[Placed], *, title: str, frame: Frame = FRAME) -> str:
    """An SVG: cost per run on a log axis, score upright, area by params_b, a line through the frontier.

    Models without a place, or at no cost, are not drawn. A model is on the line if nobody dominates it and, where its
    probability is known, it is on the frontier in half of the draws. Intervals are hairlines.
    """
    drawn = [(one, one.cost_usd, one.score) for one in placed if one.on_frontier is not None]
    here = [(one, cost, score) for one, cost, score in drawn if cost and score is not None]
    if not here:
        return empty(title, frame, "no model has a place")
    costs, scores = [cost for _, cost, _ in here], [score for _, _, score in here]
    x_ticks = log_ticks(min(costs), max(costs) * (1 + 1e-6))
    y_ticks = nice_ticks(min(scores), max(scores))
    x = Scale(min(x_ticks[0], min(costs)), max(x_ticks[-1], max(costs)), frame.left + 20, frame.right - 20, log=True)
    y = Scale(y_ticks[0], y_ticks[-1], frame.bottom - 16, frame.top + 4)
    largest = max((one.params_b or 0.0 for one, _, _ in here), default=0.0)
    best = sorted((cost, score) for one, cost, score in here if surely(one))
    line = " ".join(f"{x.at(cost):.1f},{y.at(score):.1f}" for cost, score in best)
    body = [
        *y_axis(y_ticks, y, "score", frame),
        *x_axis([(t, f"${t:,g}") for t in x_ticks], x, "cost of one run of the set (US dollars)", frame, grid=True),
        f'<polyline points="{line}" class="line" stroke="var(--best)"/>',
        *(part for one, cost, score in here for part in _interval(one, x, y)),
        *(part for one, cost, score in here for part in _bubble(one, x.at(cost), y.at(score), largest)),
        *_names([(one, x.at(cost), y.at(score), _radius(one, largest)) for one, cost, score in here], frame),
        *_key(any(one.params_b for one, _, _ in here), frame),
    ]
    said = "; ".join(f"{one.model}: {usd(cost)}, score {number(score)}" for one, cost, score in here)
    return svg(title, said, body, frame)


def surely(one: Placed) -> bool:
    """True where the model is drawn on the frontier."""
    return bool(one.on_frontier) and (one.p_on_frontier is None or one.p_on_frontier >= 0.5)


def _key(sized: bool, frame: Frame) -> list[str]:
    """What the colours mean, above the plot."""
    entries = [("on the frontier", "var(--best)"), ("dominated", "var(--bad)")]
    parts, right = [], frame.right
    for name, fill in reversed(entries):
        right -= len(name) * CHARACTER
        parts.append(text(right, 14, name))
        parts.append(f'<circle fill="{fill}" fill-opacity=".6" cx="{right - 10:.1f}" cy="10" r="5"/>')
        right -= 26
    if sized and right > 190:
        parts.append(text(60, 14, "area: parameters"))
    return parts


def _radius(one: Placed, largest: float) -> float:
    return _RADIUS * math.sqrt(one.params_b / largest) if one.params_b and largest else _SMALL


def _interval(one: Placed, x: Scale, y: Scale) -> list[str]:
    """Hairlines as long as the cost's and the score's intervals."""
    if not one.cost_usd or one.score is None:
        return []
    at_x, at_y, parts = x.at(one.cost_usd), y.at(one.score), []
    if one.cost_low_usd and one.cost_high_usd:
        left, right = x.at(max(one.cost_low_usd, x.low)), x.at(min(one.cost_high_usd, x.high))
        parts.append(stroke(left, at_y, right, at_y, "axis"))
    if one.score_low is not None and one.score_high is not None:
        parts.append(stroke(at_x, y.at(max(one.score_low, y.low)), at_x, y.at(min(one.score_high, y.high)), "axis"))
    return parts


def _bubble(one: Placed, at_x: float, at_y: float, largest: float) -> list[str]:
    radius = _radius(one, largest)
    colour = "var(--best)" if surely(one) else "var(--bad)"
    size = "" if one.params_b is None else f", {one.params_b:g}B"
    sure = "" if one.p_on_frontier is None else f", P(on frontier) {one.p_on_frontier:.2f}"
    said = escape(f"{one.model}{size}: {usd(one.cost_usd)}, score {number(one.score)}{sure}")
    circle = f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity=".55"/>'
    target = f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="{max(radius, 10):.1f}" class="hit"><title>{said}</title>'
    return [circle, target + "</circle>"]


def _names(bubbles: Sequence[tuple[Placed, float, float, float]], frame: Frame) -> list[str]:
    """A name beside each bubble (x, y, radius), where it meets the least of other names and bubbles."""
    taken: list[tuple[float, float, float, float]] = [
        (at_x - radius, at_x + radius, at_y - radius, at_y + radius) for _, at_x, at_y, radius in bubbles
    ]
    parts = []
    for one, at_x, at_y, radius in bubbles:
        width = len(one.model) * CHARACTER
        places: list[tuple[float, float, float, str, tuple[float, float, float, float]]] = []
        for step in (0, -14, 14, -28, 28, -42, 42):
            for x, start, anchor in (
                (at_x + radius + 4, at_x + radius + 4, "start"),
                (at_x - radius - 4, at_x - radius - 4 - width, "end"),
                (at_x, at_x - width / 2, "middle"),
            ):
                if anchor == "middle" and abs(step) < radius + 8:
                    continue  # it would lie on its own bubble
                box = (start, start + width, at_y + step - 7, at_y + step + 5)
                outside = box[0] < frame.left or box[1] > frame.width - 2 or box[3] > frame.bottom
                places.append((100 * outside + sum(_meet(box, other) for other in taken), abs(step), x, anchor, box))
        _, _, x, anchor, box = min(places, key=lambda place: place[:2])
        taken.append(box)
        parts.append(text(x, box[3] - 1, one.model, "halo ink" if surely(one) else "halo", anchor))
    return parts


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
