"""The report's other charts: bars, panels over time; well-formed, escaped, with what they were given."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from benchsuite.report.charts_special import Bar, Panel, Trace, timeline_chart, tornado_chart
from benchsuite.report.format import usd

HOSTILE = '<script>alert("x")</script>&'
SVG = "{http://www.w3.org/2000/svg}"


def titles(chart: str) -> list[str]:
    """What can be pointed at, the chart's own title left out."""
    return [element.text or "" for element in ElementTree.fromstring(chart).iter(f"{SVG}title")][1:]


def test_a_tornado_has_a_bar_on_either_side_of_today():
    """The lower end left of the base, the higher right of it; an input that moves one way has one bar."""
    bars = [Bar("price", "$1", "$3", 5.0, 15.0), Bar("hours in use", "50 %", "100 %", 20.0, 10.0)]
    chart = tornado_chart(bars, 10.0, title="t", x_label="USD", show=usd)
    assert titles(chart) == ["price: $5.00 at $1, $15.00 at $3", "hours in use: $20.00 at 50 %, $10.00 at 100 %"]
    assert chart.count('fill-opacity=".75"') == 3
    assert "base $10.00" in chart
    assert "nothing to draw" in tornado_chart([], 10.0, title="t", x_label="USD", show=usd)


def test_panels_tell_their_values_at_one_moment():
    """A strip names every quantity at its time; a step holds its last value, and nothing is told before the first."""
    panels = [
        Panel("in flight", (Trace("busy", (0.0, 5.0, 10.0), (2.0, 4.0, 0.0), step=True),)),
        Panel("power", (Trace("W", (6.0,), (300.0,), step=True),)),
    ]
    chart = timeline_chart(panels, title="t", end_s=10.0, steady=(2.0, 8.0), width=380)
    told = titles(chart)
    assert len(told) == 24
    assert told[0] == "at 0.208 s: busy 2.00"
    assert told[-1] == "at 9.79 s: busy 4.00, W 300"
    assert chart.count('class="zone"') == 1


def test_a_hole_in_a_trace_is_a_hole():
    """What is not known is not drawn: the pen is lifted."""
    trace = Trace("x", (0.0, 1.0, 2.0, 3.0), (1.0, None, 1.0, 2.0))
    chart = timeline_chart([Panel("p", (trace,))], title="t", end_s=3)
    path = re.findall(r'<path d="([^"]*)" class="curve"', chart)[0]
    assert re.sub(r"[0-9. ]", "", path) == "MML"


def test_no_markup_gets_through():
    """A hostile name makes no element in any of them."""
    charts = (
        tornado_chart([Bar(HOSTILE, HOSTILE, HOSTILE, 1, 2)], 1.5, title=HOSTILE, x_label=HOSTILE, show=usd),
        timeline_chart([Panel(HOSTILE, (Trace(HOSTILE, (0.0,), (1.0,)),))], title=HOSTILE, end_s=1),
    )
    for chart in charts:
        ElementTree.fromstring(chart)
        assert "<script" not in chart
