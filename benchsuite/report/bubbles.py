"""The frontier as a picture (the paper's figure 1): cost against score, bubbles as large as the models. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchsuite.economics.frontier import Placed
from benchsuite.report.axes import Scale, log_ticks, nice_ticks, spaced
from benchsuite.report.svg import BOTTOM, CHARACTER, CSS, HEIGHT, LEFT, RIGHT, TOP, stroke, svg, text, y_axis
from benchsuite.report.words import number, usd

_RADIUS = 15.0  # of the largest model
_SMALL = 4.0  # of a model whose parameters are not known


def frontier_chart(placed: Sequence[Placed], *, title: str) -> str:
    """An SVG: cost per run on a log axis, score upright, area by params_b, a line through the frontier.

    Models without a place, or at no cost, are not drawn. A model is on the line if nobody dominates it and, where its
    probability is known, it is on the frontier in half of the draws.
    """
    drawn = [(one, one.cost_usd, one.score) for one in placed if one.on_frontier is not None]
    here = [(one, cost, score) for one, cost, score in drawn if cost and score is not None]
    if not here:
        return _with_style(svg(title, "nothing to draw", [text(LEFT, HEIGHT / 2, "no model has a place")]))
    costs, scores = [cost for _, cost, _ in here], [score for _, _, score in here]
    x_ticks, y_ticks = log_ticks(min(costs), max(costs) * (1 + 1e-6)), nice_ticks(min(scores), max(scores))
    x = Scale(min(x_ticks[0], min(costs)), max(x_ticks[-1], max(costs)), LEFT + 20, RIGHT - 20, log=True)
    y = Scale(y_ticks[0], y_ticks[-1], BOTTOM - 16, TOP + 4)
    largest = max((one.params_b or 0.0 for one, _, _ in here), default=0.0)
    best = sorted((cost, score) for one, cost, score in here if _surely(one))
    line = " ".join(f"{x.at(cost):.1f},{y.at(score):.1f}" for cost, score in best)
    body = [
        *y_axis(y_ticks, y, "score"),
        *_cost_axis(x_ticks, x),
        f'<polyline points="{line}" class="line" stroke="var(--best)"/>',
        *(part for one, cost, score in here for part in _bubble(one, x.at(cost), y.at(score), largest)),
        *_names([(one.model, x.at(cost), y.at(score), _radius(one, largest)) for one, cost, score in here]),
    ]
    said = "; ".join(f"{one.model}: {usd(cost)}, score {number(score)}" for one, cost, score in here)
    return _with_style(svg(title, said, body))


def _with_style(picture: str) -> str:
    """The picture as a file of its own: its style inside it."""
    head, close, rest = picture.partition(">")
    return f"{head}{close}<style>{CSS}</style>{rest}"


def _surely(one: Placed) -> bool:
    return bool(one.on_frontier) and (one.p_on_frontier is None or one.p_on_frontier >= 0.5)


def _cost_axis(ticks: Sequence[float], x: Scale) -> list[str]:
    inside = [tick for tick in ticks if x.low <= tick <= x.high]
    parts = [stroke(x.at(tick), BOTTOM, x.at(tick), TOP, "grid") for tick in inside]
    shown = spaced([x.at(tick) for tick in inside], 40)
    parts += [text(x.at(inside[i]), BOTTOM + 18, f"${inside[i]:,g}", anchor="middle") for i in shown]
    return [*parts, text((LEFT + RIGHT) / 2, HEIGHT - 8, "cost per run of the set (US dollars)", anchor="middle")]


def _radius(one: Placed, largest: float) -> float:
    return _RADIUS * math.sqrt(one.params_b / largest) if one.params_b and largest else _SMALL


def _bubble(one: Placed, at_x: float, at_y: float, largest: float) -> list[str]:
    radius = _radius(one, largest)
    colour = "var(--best)" if _surely(one) else "var(--bad)"
    size = "" if one.params_b is None else f", {one.params_b:g}B"
    sure = "" if one.p_on_frontier is None else f", P(on frontier) {one.p_on_frontier:.2f}"
    said = escape(f"{one.model}{size}: {usd(one.cost_usd)}, score {number(one.score)}{sure}")
    circle = f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity=".55"/>'
    hit = f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="{radius:.1f}" class="hit"><title>{said}</title></circle>'
    return [circle, hit]


def _names(bubbles: Sequence[tuple[str, float, float, float]]) -> list[str]:
    """A name beside each bubble (x, y, radius), moved up or down where it would meet another name."""
    taken: list[tuple[float, float, float]] = []
    parts = []
    for name, at_x, at_y, radius in bubbles:
        width, right = len(name) * CHARACTER, at_x < (LEFT + RIGHT) / 2
        start = at_x + radius + 3 if right else at_x - radius - 3 - width
        places = [at_y + 4 + step for step in (0, -12, 12, -24, 24, -36, 36)]
        free = [p for p in places if all(abs(p - t) >= 12 or start > r or start + width < lf for lf, r, t in taken)]
        height = free[0] if free else places[0]
        taken.append((start, start + width, height))
        parts.append(text(start if right else start + width, height, name, "halo", "start" if right else "end"))
    return parts
