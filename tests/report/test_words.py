"""Numbers and sentences for people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchsuite.analysis.metrics import parse_points
from benchsuite.economics.decision import decide, judge_points
from benchsuite.report.charts import Point, Series
from benchsuite.report.format import (
    asides,
    grouped_warnings,
    headline,
    ms,
    number,
    percent,
    spaced,
    tail,
    usd,
    warning_text,
)
from benchsuite.report.sections_levels import course
from benchsuite.results import Distribution, EvaluatedLevel, Finding, PointCost
from benchsuite.slo import parse_slo

TABLE4 = Path(__file__).parents[2] / "docs" / "examples" / "paper_table4.csv"
MISTRAL = [p for p in parse_points(TABLE4.read_text("utf-8"), where="t") if p.model == "Mistral-Small"]


def sentence(slo_text: str, price: float | None = 1.58) -> str:
    slo = parse_slo(slo_text)
    judged = judge_points(MISTRAL, slo, price)
    return headline(decide(judged, slo), judged)


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
def test_numbers(value: float | None, text: str):
    """Three significant digits, never fewer digits than the whole part; missing is an en dash."""
    assert number(value) == text


def test_units():
    """Seconds as milliseconds, ratios as percent, dollars with cents from one dollar up."""
    assert (ms(0.0412), ms(None), percent(0.0312), percent(None)) == ("41.2", "–", "3.12 %", "–")
    assert (usd(1234.5), usd(0.2453), usd(None)) == ("$1,234.50", "$0.245", "–")


def test_a_tail_needs_ten_observations_beyond_it():
    """p99 from 1000 requests on, p95 from 200."""
    values = Distribution(n=999, p95=1.0, p99=2.0)
    assert (tail(values, "p99"), tail(values, "p95")) == (None, 1.0)
    assert tail(Distribution(n=1000, p99=2.0), "p99") == 2.0


def test_the_papers_optimum_in_a_sentence():
    """Level, cost, and what stops the next."""
    assert sentence("throughput>20") == (
        "optimum 64: $0.245 per run, $0.302/1M output tokens; next level 128 misses throughput > 20 tok/s (13.91 tok/s)"
    )


def test_no_level():
    """The nearest level and what it misses."""
    assert sentence("throughput>100") == (
        "no level meets the SLO; nearest: 8 misses throughput > 100 tok/s (52.35 tok/s)"
    )


def test_the_highest_level_wins():
    """Nothing above was measured, and the sentence says so."""
    assert sentence("throughput>1").endswith("; it is the highest level measured, so measure higher")


def test_without_a_price():
    """The duration of the run stands in."""
    assert sentence("throughput>20", None).startswith("optimum 64: 559 s per run (no price given); next level 128")
    slo = parse_slo("throughput>20")
    judged = judge_points(MISTRAL, slo, None)
    assert any("--usd-per-hour" in text for text in asides(decide(judged, slo), judged))


def test_warnings_of_a_kind_come_together():
    """One line for one remedy, naming every level."""
    none = PointCost(None, None, None, None, None)
    noted = [replace(p, warnings=(Finding("x", f"{p.concurrency} bad", "fix", p.concurrency),)) for p in MISTRAL[:2]]
    ((warn, levels),) = grouped_warnings(EvaluatedLevel(point, none, ()) for point in noted)
    assert warning_text(warn, levels) == "at 8 (likewise 16): 8 bad; fix"


def test_a_course_that_does_not_move_stays():
    """310 W at every level is not said to go from 310 W to 310 W."""
    flat = Series("power", (Point(4, 310.0), Point(8, 310.2)))
    assert course("GPU power", flat, "W") == "GPU power stays at 310 W"
    moved = Series("power", (Point(4, 310.0), Point(8, 320.0)))
    assert course("GPU power", moved, "W") == "GPU power goes from 310 W at 4 to 320 W at 8"


def test_percentages_are_spaced_alike():
    """In a finding as in every table, on a page with a space that no line break parts."""
    warn = Finding("drain", "slots were in use 91.3% of the run", "less than 5 % is fine", 8)
    assert warning_text(warn, [8]) == "at 8: slots were in use 91.3 % of the run; less than 5 % is fine"
    assert spaced("89.7% and 5 %") == "89.7\u00a0% and 5\u00a0%"
