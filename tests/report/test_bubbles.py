"""The frontier's picture: bubbles as large as the models, a line through the best, nobody's name lost."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

from benchsuite.economics.pareto import ModelPoint, ParetoPoint, Score, frontier
from benchsuite.report.charts_special import frontier_chart
from benchsuite.report.page import standalone


def place(model: str, cost: float, score: float, params_b: float | None) -> ModelPoint:
    return ModelPoint(model, 8, cost, Score(model, score, params_b))


PLACED = frontier([place("small", 0.1, 50, 9), place("large", 0.4, 80, 36), place("worse <&>", 0.5, 60, None)])


def radii(picture: str) -> list[float]:
    return [float(r) for r in re.findall(r'r="([0-9.]+)" fill="var', picture)]


def test_area_is_parameters():
    """Four times the parameters, twice the radius; unknown ones are small."""
    assert radii(frontier_chart(PLACED, title="t")) == [7.5, 15.0, 4.0]


def test_it_is_a_picture_of_its_own():
    """Well-formed, with its style, every name escaped, the values as text for those who cannot see it."""
    picture = standalone(frontier_chart(PLACED, title="t"))
    ElementTree.fromstring(picture)
    assert "<style>" in picture
    assert "worse &lt;&amp;&gt;" in picture
    assert "small: $0.100, score 50.0" in picture


def line(placed: list[ParetoPoint]) -> int:
    """Corners of the frontier's line."""
    found = re.search(r'<polyline points="([^"]*)"', frontier_chart(placed, title="t"))
    assert found
    return len(found[1].split())


def test_the_line_goes_through_the_frontier():
    """Both models that nobody dominates; not one that is on the frontier in less than half of the draws."""
    assert line(PLACED) == 2
    assert line([PLACED[0], replace(PLACED[1], p_on_frontier=0.4)]) == 1


def test_nobody_has_a_place():
    """Said so, no crash; one model alone is drawn."""
    assert "no model has a place" in frontier_chart(frontier([ModelPoint("a", None, None, None)]), title="t")
    assert "no model has a place" in frontier_chart([], title="t")
    assert radii(frontier_chart(frontier([place("a", 1, 1, 7)]), title="t")) == [15.0]


def test_names_do_not_meet():
    """Three models in one place: three heights."""
    near = frontier([place(name, 1 + i / 1000, 50 + i / 1000, 7) for i, name in enumerate("abc")])
    heights = re.findall(r'y="([0-9.]+)" class="halo[ ink]*"', frontier_chart(near, title="t"))
    assert len({float(height) for height in heights}) == 3
