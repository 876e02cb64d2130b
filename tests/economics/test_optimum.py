"""The decision rule: the paper's nine optima, and the cases that its table does not have."""

from __future__ import annotations

import csv

import pytest
from points_for_tests import EXAMPLES, TABLE4, point

from benchsuite.economics.decision import decide, judge_points
from benchsuite.slo import PAPER_SLO, parse_slo

SLO = parse_slo(PAPER_SLO)


def decision(*points, slo=SLO, usd=3600.0):  # type: ignore[no-untyped-def]
    """At $3600/h a second costs a dollar."""
    return decide(judge_points(points, slo, usd))


with (EXAMPLES / "paper_table2.csv").open(encoding="utf-8") as file:
    TABLE2 = list(csv.DictReader(file))


@pytest.mark.parametrize("row", TABLE2, ids=[row["model"] for row in TABLE2])
def test_the_papers_table_2(row):
    """Table 2 follows from Table 4: the level, and the cost to the cent at $1.58 an hour."""
    points = [p for p in TABLE4 if p.model == row["table4_model"]]
    found = decision(*points, usd=1.58)
    assert found.kind == "optimum"
    assert found.choice.point.level.users == int(row["concurrency"])
    assert f"{found.choice.cost.cost_usd:.2f}" == row["cost_usd_printed"]
    assert found.binding == "output_throughput_per_user>20"
    assert found.choice.point.output_tokens == int(row["output_tokens"])
    assert found.choice.point.ratios["output_tok_s_per_user"] == pytest.approx(
        float(row["throughput_tok_s"]), abs=0.0052
    )


def test_the_nine_levels_as_literals():
    """48, 16, 16, 8, 64, 16, 64, 32, 64 in the order of Table 2, whatever the file says."""
    models = [row["table4_model"] for row in TABLE2]
    found = [decision(*(p for p in TABLE4 if p.model == model)) for model in models]
    assert [d.choice.point.level.users for d in found] == [48, 16, 16, 8, 64, 16, 64, 32, 64]


def test_runner_up_is_the_second_cheapest_feasible():
    """Qwen3 at 48; Mistral's 48 has no TTFT, so its runner-up is 32 and the reason says why."""
    qwen = decision(*(p for p in TABLE4 if p.model == "Qwen3-30B"))
    mistral = decision(*(p for p in TABLE4 if p.model == "Mistral-Small"))
    assert qwen.runner_up.point.level.users == 48
    assert mistral.runner_up.point.level.users == 32
    assert "48 is not proven feasible: ttft_mean<1s unknown" in mistral.reason


@pytest.mark.parametrize(
    ("limit", "level"),
    [
        ("output_throughput_per_user>19.8", 32),
        ("output_throughput_per_user>20", 16),
        ("output_throughput_per_user>19.87", 16),
    ],
)
def test_optima_hang_on_one_percent(limit, level):
    """WiNGPT-2.7 at 32 runs 19.860 tok/s: 1 % on the limit moves the optimum."""
    slo = parse_slo(limit)
    found = decision(*(p for p in TABLE4 if p.model == "WiNGPT-2.7"), slo=slo)
    assert found.choice.point.level.users == level


def test_highest_level_feasible_says_measure_higher():
    """No limit was found."""
    found = decision(point(8, 100, 50), point(16, 60, 40))
    assert (found.choice.point.level.users, found.runner_up.point.level.users) == (16, 8)
    assert found.binding == "no limit: the highest level measured is feasible; measure higher"


def test_a_dearer_level_above_is_no_limit():
    """Time turns up at 32 although it is feasible."""
    found = decision(point(8, 100, 50), point(16, 60, 40), point(32, 61, 30))
    assert found.choice.point.level.users == 16
    assert found.binding == "no limit: every other level measured costs more"


def test_equal_cost_takes_the_lower_level():
    """Safer at the same price."""
    assert decision(point(16, 60, 40), point(8, 60, 40)).choice.point.level.users == 8


def test_without_a_price_the_shortest_run_wins():
    """Cost is a price times time, whatever the price."""
    found = decision(point(8, 100, 50), point(16, 60, 40), usd=None)
    assert (found.choice.point.level.users, found.choice.cost.cost_usd) == (16, None)


def test_no_level_meets_the_slo():
    """The nearest misses by the least of its limit: 19 of 20 tok/s, against 1.2 s of 1 s."""
    found = decision(point(8, 100, 19), point(16, 60, 40, 1.2))
    assert found.kind == "none"
    assert found.nearest.point.level.users == 8
    assert (found.verdict, found.nearest.slo_verdict) == ("undecided", "undecided")  # 5 % is what runs differ by
    assert decision(point(8, 100, 10), point(16, 60, 40, 2.2)).verdict == "not met"


def test_nothing_measured():
    """An empty run is no optimum and no crash."""
    assert decision().kind == "none"


def test_unknown_is_not_feasible_and_not_a_miss():
    """A level without TTFT is not chosen; one that fails another limit fails by that."""
    found = decision(point(8, 100, 50), point(16, 60, 40, None), point(32, 50, 10, None))
    assert found.choice.point.level.users == 8
    assert found.binding == "ttft_mean<1s unknown"
    only = decision(point(16, 60, 40, None))
    assert (only.kind, only.verdict, only.nearest.doubts) == ("none", "undecided", ("ttft_mean<1s unknown",))


def test_a_level_that_fails_requests_is_not_cheap():
    """Half the requests failing fast makes the shortest run; it is not chosen unless the SLO allows it."""
    broken = point(16, 10, 40, error_rate=0.5)
    assert decision(point(8, 100, 50, error_rate=0.0), broken).choice.point.level.users == 8
    allowed = parse_slo("output_throughput_per_user>20,error_rate<60%")
    assert decision(point(8, 100, 50, error_rate=0.0), broken, slo=allowed).choice.point.level.users == 16
