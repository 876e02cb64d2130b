"""The report's other charts: panels over time; well-formed, escaped, with what they were given."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from benchsuite.report.charts_special import Panel, Trace, timeline_chart

HOSTILE = '<script>alert("x")</script>&'
SVG = "{http://www.w3.org/2000/svg}"


def titles(chart: str) -> list[str]:
    """What can be pointed at, the chart's own title left out."""
    return [element.text or "" for element in ElementTree.fromstring(chart).iter(f"{SVG}title")][1:]


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
    """A hostile name makes no element."""
    chart = timeline_chart([Panel(HOSTILE, (Trace(HOSTILE, (0.0,), (1.0,)),))], title=HOSTILE, end_s=1)
    ElementTree.fromstring(chart)
    assert "<script" not in chart
