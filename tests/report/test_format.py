"""Numbers, intervals and sentences for people. Whole sentences are a snapshot."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factory import run_folder

from benchsuite.analysis.summary import parse_points
from benchsuite.economics.decision import decide, judge_points
from benchsuite.level import Level
from benchsuite.report.charts import Point, Series
from benchsuite.report.format import (
    asides,
    chance_text,
    headline,
    interval_cell,
    ms,
    number,
    percent,
    same_warnings,
    spaced,
    tail,
    usd,
    warning_text,
)
from benchsuite.report.judge import judge_run
from benchsuite.report.sections_levels import trend
from benchsuite.results import Distribution, Estimate, EvaluatedLevel, PointCost
from benchsuite.slo import parse_slo
from benchsuite.store.run_folder import read_run
from benchsuite.warning_table import warn as warning


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (0.012345, "0.0123"),
        (0.5, "0.500"),
        (4.567, "4.57"),
        (45.67, "45.7"),
        (9.9996, "10.0"),
        (999.7, "1,000"),
        (12345.6, "12,346"),
    ],
)
def test_numbers(value, text):
    """Three significant digits, never fewer digits than the whole part; missing is an en dash."""
    assert number(value) == text


def test_units():
    """Seconds as milliseconds, ratios as percent, dollars with cents from one dollar up."""
    assert (ms(0.0412), ms(None), percent(0.0312), percent(None)) == ("41.2", "–", "3.12 %", "–")
    assert (usd(1234.5), usd(0.2453), usd(None)) == ("$1,234.50", "$0.245", "–")


def test_an_interval_as_text(mistral):
    """The value and its ends in one unit; an end that is not known is a dash, and without both the value is alone."""
    point, mean_s = mistral[0], mistral[0].ttft_s.mean
    none = PointCost(None, None, None, None, None)
    shown = []
    for ends in ((0.04, 0.06), (0.04, None), (None, None)):
        level = EvaluatedLevel(point, none, intervals={"ttft_mean_s": Estimate(mean_s, *ends, 3, "t")})
        shown.append(interval_cell(level, "ttft_mean_s").removeprefix(ms(mean_s)))
    assert shown == [" [40.0, 60.0]", " [40.0, –]", ""]


def test_a_tail_needs_ten_observations_beyond_it():
    """p99 from 1000 requests on, p95 from 200."""
    values = Distribution(n=999, p95=1.0, p99=2.0)
    assert (tail(values, "p99"), tail(values, "p95")) == (None, 1.0)
    assert tail(Distribution(n=1000, p99=2.0), "p99") == 2.0


@pytest.fixture
def mistral(stored):
    """The paper's points of Mistral-Small."""
    points = parse_points((stored / "paper_table4.csv").read_text("utf-8"), where="t")
    return [point for point in points if point.model == "Mistral-Small"]


def test_the_decision_in_a_sentence(mistral, snapshot):
    """The optimum and what stops the next level; no level; the highest one; no price; and what goes beside."""
    said = {}
    for slo_text, price in (
        ("output_throughput_per_user>20", 1.58),
        ("output_throughput_per_user>100", 1.58),
        ("output_throughput_per_user>1", 1.58),
        ("output_throughput_per_user>20", None),
    ):
        slo = parse_slo(slo_text)
        judged = judge_points(mistral, slo, price)
        decision = decide(judged)
        said[f"{slo} at {price}"] = [headline(decision, judged), *asides(decision, judged)]
    assert said == snapshot


def test_the_decision_of_repeats(tmp_path):
    """The optimum has its probability, its cost an interval; what else is picked, and a safer level, are named."""
    judgement = judge_run(read_run(run_folder(tmp_path / "run", repeats=3)))
    decision, judged = judgement.decision, judgement.judged
    assert headline(decision, judged).startswith("optimum 4 (P = 1.00): TTFT mean ")
    assert "/1M output tokens [" in headline(decision, judged)
    unsure = replace(decision, p_by_level={Level(2): 0.39, Level(4): 0.57, Level(8): 0.0}, p_opt=0.57)
    assert chance_text(unsure) == " (P = 0.57; 2: 0.39; none: 0.04)"
    advised = replace(decision, recommended=judged[0])
    assert headline(advised, judged).startswith("recommended 2 (P = ")
    assert [any("4 looks cheaper" in text for text in asides(one, judged)) for one in (decision, advised)] == [
        False,
        True,
    ]


def test_warnings_of_a_kind_come_together(mistral):
    """One line for one remedy, naming every level."""
    noted = [replace(p, warnings=(warning("littles_law", p.level, error=0.1),)) for p in mistral[:2]]
    ((warn, levels),) = same_warnings(warn for point in noted for warn in point.warnings)
    assert (warn.code, levels) == ("littles_law", (Level(8), Level(16)))
    assert warning_text(warn, levels).startswith("at 8 (likewise 16): ")


def test_a_trend_that_does_not_move_stays():
    """310 W at every level is not said to go from 310 W to 310 W."""
    flat = Series("power", (Point(4, 310.0), Point(8, 310.2)))
    assert trend("GPU power", flat, "W") == "GPU power is 310 W at every level"
    moved = Series("power", (Point(4, 310.0), Point(8, 320.0)))
    assert trend("GPU power", moved, "W") == "GPU power is about 320 W at every level"
    risen = Series("power", (Point(4, 310.0), Point(6, 300.0), Point(8, 420.0)))
    assert trend("GPU power", risen, "W") == "GPU power rises from 310 W at concurrency 4 to 420 W at 8"
    back = Series("power", (Point(4, 310.0), Point(6, 500.0), Point(8, 311.0)))
    assert trend("GPU power", back, "W") == "GPU power is between 310 W and 500 W"


def test_percentages_are_spaced_alike():
    """In a finding as in every table, on a page with a space that no line break parts."""
    busy = warning("ramp_up_down", 8, occupancy=0.913, shown="91.3%", requests=800, steady="")
    assert "91.3 % of the run" in warning_text(busy, [Level(8)])
    assert spaced("89.7% and 5 %") == "89.7\u00a0% and 5\u00a0%"
