"""Intervals and probabilities as people and programs read them."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from runs_for_tests import make_run

from benchsuite.report.format import asides, chance_text, headline, interval, number
from benchsuite.report.judge import Judgement, judge_run
from benchsuite.report.page import render
from benchsuite.report.terminal import final_table
from benchsuite.results import Estimate
from benchsuite.store.run_folder import read_run


@pytest.fixture(scope="module")
def judgement(tmp_path_factory) -> Judgement:
    """Three equal repeats: no doubt at all."""
    return judge_run(read_run(make_run(tmp_path_factory.mktemp("run") / "r", repeats=3)))


def test_an_interval_as_text():
    """The value and its ends in one unit; an end that is not known is a dash, and without both the value is alone."""
    assert interval(Estimate(0.05, 0.04, 0.06, 3, "t"), number, 1000) == "50.0 [40.0, 60.0]"
    assert interval(Estimate(5, 4, None, 3, "t"), number) == "5.00 [4.00, –]"
    assert interval(Estimate(5, None, None, 1, "no interval: one run"), number) == "5.00"
    assert interval(None, number) == "–"


def test_the_headline_says_how_sure(judgement):
    """With repeats the optimum has its probability and its cost an interval; what else is picked is named."""
    assert headline(judgement.decision, judgement.judged).startswith("optimum 4 (P = 1.00): $")
    assert "/1M output tokens [" in headline(judgement.decision, judgement.judged)
    unsure = replace(judgement.decision, p_by_level={2: 0.39, 4: 0.57, 8: 0.0}, p_opt=0.57)
    assert chance_text(unsure) == " (P = 0.57; 2: 0.39; none: 0.04)"


def test_the_safer_level_is_advised(judgement):
    """Where it is another than the cheapest."""
    assert not [text for text in asides(judgement.decision, judgement.judged) if text.startswith("recommended")]
    advised = replace(judgement.decision, recommended=judgement.judged[0])
    assert [text for text in asides(advised, judgement.judged) if text.startswith("recommended 2: 4 is not sure")]


def test_terminal_and_page_show_them(judgement, tmp_path):
    """A table of intervals where there are several runs, none where there is one."""
    screen = StringIO()
    console = Console(file=screen, width=80)
    final_table(judgement.judged, judgement.decision, judgement.slo, console=console)
    assert "95 % intervals over runs" in screen.getvalue()
    assert "not met" in screen.getvalue()
    assert max(len(line) for line in screen.getvalue().splitlines()) <= 80
    assert "How sure" in render(read_run(make_run(tmp_path / "three", repeats=3)))
    assert "How sure" not in render(read_run(make_run(tmp_path / "one")))


def test_summary_has_them(judgement):
    """The keys that programs read."""
    summary = judgement.summary()
    assert summary["optimum"]["p_opt"] == 1.0
    assert summary["optimum"]["p_by_level"] == {"2": 0.0, "4": 1.0, "8": 0.0}
    point = summary["points"][1]
    assert (point["slo_verdict"], point["p_met"]) == ("met", 1.0)
    wall = point["intervals"]["duration_s"]
    assert wall == {
        "value": point["duration_s"],
        "low": wall["low"],
        "high": wall["high"],
        "n": 3,
        "method": wall["method"],
    }
    assert wall["low"] == pytest.approx(wall["high"])
    assert point["intervals"]["cost_usd"]["value"] == point["cost_usd"]
