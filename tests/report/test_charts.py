"""Charts: well-formed, escaped, and showing what they were given."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchsuite.report.charts import Limit, Point, Series, apart, ecdf_chart, level_chart

SVG = "{http://www.w3.org/2000/svg}"


def line(*values: float | None) -> Series:
    return Series("mean", tuple(Point(2.0**i, value) for i, value in enumerate(values)))


def texts(chart: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(chart).iter(f"{SVG}text")]


@given(st.text("aZ09 <>&\"'`;-ß模\u00a0\U0001d4b3", max_size=30))
def test_any_text_is_escaped(text: str):
    """Titles, labels, names and limits come back from the XML as they went in."""
    series = [Series(text, line(1, 2).points), line(2, 3)]
    chart = level_chart(series, title=text, y_label=text, limits=[Limit(2, text)])
    root = ElementTree.fromstring(chart)
    assert root.findtext(f"{SVG}title") == text
    assert ElementTree.fromstring(ecdf_chart([(text, [1, 2])], title=text, x_label=text)) is not None


def test_the_finding_is_drawn():
    """The optimum has a ring, infeasible levels one shade, points their value, the limit its name."""
    chart = level_chart(
        [line(10, 20, 30, 90, 95)],
        title="t",
        y_label="TTFT (ms)",
        limits=[Limit(50, "ttft_mean < 0.05 s")],
        infeasible=[8, 16],
        optimum=4,
    )
    assert chart.count('class="ring"') == 1
    assert chart.count('class="bad"') == 1
    assert {"optimum 4", "violates the SLO", "TTFT (ms)", "ttft_mean < 0.05 s", "1", "16", "100"} <= set(texts(chart))
    assert "<title>mean at 4: 30.0</title>" in chart
    assert "<desc>TTFT (ms). mean: 10.0 at 1, 20.0 at 2, 30.0 at 4, 90.0 at 8, 95.0 at 16</desc>" in chart


def test_a_missing_value_is_not_drawn_as_zero():
    """Three levels, one unknown: two points, three ticks."""
    chart = level_chart([line(10, None, 30)], title="t", y_label="y")
    assert chart.count("<circle") == 2 * 2
    assert {"1", "2", "4"} <= set(texts(chart))


def test_a_far_limit_does_not_flatten_the_data():
    """A limit of 1000 over data up to 30 is named, and the axis ends at 30."""
    chart = level_chart([line(10, 30)], title="t", y_label="y", limits=[Limit(1000, "far")])
    assert "far: far above" in texts(chart)
    assert "1,000" not in texts(chart)


@pytest.mark.parametrize("series", [[], [line(None, None)], [line()]])
def test_nothing_known(series: list[Series]):
    """No values: a chart that says so."""
    assert "no value is known" in texts(level_chart(series, title="t", y_label="y"))
    assert "no value is known" in texts(ecdf_chart([("8", [])], title="t", x_label="x"))


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8))
@example(values=[1.0, 5e-324])
def test_everything_stays_on_the_canvas(values: list[float]):
    """Every point lies inside the view box."""
    chart = level_chart([line(*values)], title="t", y_label="y")
    for x, y in re.findall(r'cx="([\d.-]+)" cy="([\d.-]+)" r="4"', chart):
        assert 0 <= float(x) <= 380
        assert 0 <= float(y) <= 268


def test_an_interval_is_a_bar():
    """low and high make one upright line of the series' colour."""
    series = Series("s", (Point(1, 5, 4, 6), Point(2, 5)))
    assert level_chart([series], title="t", y_label="y").count('class="bar" stroke="var(--s0)"') == 1


def test_an_ecdf_is_small_whatever_its_sample():
    """100,000 values become at most 200 steps, and the curve ends at 1."""
    chart = ecdf_chart([("8", [1 + i / 1e5 for i in range(100_000)])], title="t", x_label="x")
    path = re.search(r'<path d="([^"]*)" class="curve"', chart)
    assert path is not None
    assert path[1].count("H") <= 200
    assert len(chart) < 8000
    assert "<title>at 8: p99 1.99 ms</title>" in chart
    assert "<title>at 8: median 1.50, n 100,000</title>" in chart


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (7.0, 4000.0, ["10", "20", "50", "100", "200", "500", "1,000"]),
        (20.0, 3000.0, ["20", "50", "100", "200", "500", "1,000", "2,000"]),
        (300.0, 900.0, ["400", "600", "800"]),
        (0.05, 20000.0, ["0.1", "1", "10", "100", "1,000", "10,000"]),
    ],
)
def test_a_distribution_has_ticks_over_its_whole_axis(low: float, high: float, ticks: list[str]):
    """Round numbers in each decade, also where the powers of ten are few."""
    chart = ecdf_chart([("8", [low, high])], title="t", x_label="x")
    shown = [one for one in texts(chart) if one.replace(",", "").replace(".", "").isdigit()]
    assert [one for one in shown if one in ticks and one != "8"] == ticks


def test_two_lines_have_their_legend_in_the_server_chart():
    """A legend needs room beside the label of the axis: the server's label leaves it."""
    chart = level_chart(
        [Series("running", line(4, 8).points), Series("waiting", line(0, 3).points)],
        title="t",
        y_label="requests in the server",
    )
    assert {"running", "waiting"} <= set(texts(chart))


def test_a_rest_of_rounding_opens_no_axis_below_zero():
    """-0.0001 J beside 0.6 J is zero on the axis; -0.1 J is not."""
    assert "-0.2" not in texts(level_chart([line(0.6, -0.0001)], title="t", y_label="J"))
    assert "-0.2" in texts(level_chart([line(0.6, -0.1)], title="t", y_label="J"))


def test_names_are_moved_apart_in_their_order():
    """As little as it takes, within bounds."""
    assert apart([10, 11, 50], 14, 0, 100) == [3.5, 17.5, 50]
    assert apart([98, 99, 40], 14, 0, 100) == [86, 100, 40]
    assert apart([], 14, 0, 100) == []


def test_an_axis_of_any_number():
    """With an x_label x is linear from 0, not the levels'; points apart have no line, a law has no points."""
    points = tuple(Point(x, x) for x in (1.9, 5.15, 9.75))
    chart = level_chart([Series("rates", points, apart=True)], title="t", y_label="y", x_label="requests/s")
    assert "<polyline" not in chart
    assert {"0", "2", "10", "requests/s"} <= set(texts(chart))
    assert {"1.9", "5.15"}.isdisjoint(texts(chart))
    both = level_chart(
        [Series("rates", points, apart=True), Series("chain", points, dashed=True)], title="t", y_label="y", x_label="x"
    )
    assert both.count("<polyline") == 1
