"""The decision across settings: known costs on paper, all GPUs counted, and how often the winner wins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from points_for_tests import point
from test_chances import rows

from benchsuite.analysis.summary import measure_levels
from benchsuite.economics.decision import JudgedLevels, chances, decide, judge_points
from benchsuite.economics.matrix_decision import JudgedSetting, decide_settings
from benchsuite.errors import PointsError
from benchsuite.slo import parse_slo
from benchsuite.spec import PriceSpec

SLO = parse_slo("ttft_mean<1s,output_throughput_per_user>20")


def curve(
    name: str, gpus: int, points: list[Any], usd: float | None = 3.6, problem: str | None = None, **other: Any
) -> JudgedSetting:
    """A setting whose GPUs cost `usd` an hour each."""
    judged = judge_points(points, SLO, None if usd is None else usd * gpus)
    return JudgedSetting(name, gpus, levels(judged, decide(judged), gpus, usd, **other), problem)


def levels(judged: Any, decision: Any, gpus: int, usd: float | None, **other: Any) -> JudgedLevels:
    hour = None if usd is None else usd * gpus
    return JudgedLevels(
        model="m", source="test", slo=SLO, judged=tuple(judged), decision=decision, gpus=gpus, usd_per_hour=usd,
        hour_price=hour, **other,
    )  # fmt: skip


def measured(name: str, gpus: int, *frames: Any, usd: float = 3.6) -> JudgedSetting:
    """A setting from rows, ready to be resampled."""
    found = list(measure_levels(pd.concat(frames), SLO, model="m"))
    resampling = tuple(level.resampling for level in found)
    sure = chances(resampling)
    judged = judge_points([level.point for level in found], SLO, usd * gpus, sure)
    return JudgedSetting(name, gpus, levels(judged, decide(judged, sure), gpus, usd, resampling=resampling))


def names(found: Any) -> list[str]:
    return [found.settings[place].name for place in found.ranked]


def test_the_cheapest_pays_for_all_its_gpus():
    """60 s on two GPUs at $3.60 cost $0.12, 100 s on one $0.10: the slower setting is the cheaper one."""
    found = decide_settings([curve("tp=2", 2, [point(8, 60.0, 40.0)]), curve("tp=1", 1, [point(8, 100.0, 30.0)])])
    assert names(found) == ["tp=1", "tp=2"]
    assert found.winner.best.cost.cost_usd == pytest.approx(0.10)
    assert found.runner_up.best.cost.cost_usd == pytest.approx(0.12)
    assert (found.p_winner, found.p_method) == (None, "no interval: one run")


@pytest.mark.parametrize("usd", [None, 0.0])
def test_without_a_price_gpu_seconds_rank(usd):
    """No price, or a free hour: 120 GPU-seconds against 100 rank as any price would."""
    found = decide_settings([curve("a", 2, [point(8, 60.0, 40.0)], usd), curve("b", 1, [point(8, 100.0, 30.0)], usd)])
    assert names(found) == ["b", "a"]
    assert found.by == "GPU-seconds of one run of the set"


def test_equals_go_to_fewer_gpus():
    """The same cost on fewer GPUs comes first, whatever the order of the file."""
    found = decide_settings([curve("a", 2, [point(8, 50.0, 40.0)]), curve("b", 1, [point(8, 100.0, 30.0)])])
    assert names(found) == ["b", "a"]


def test_what_misses_or_has_a_problem_is_not_chosen():
    """Cheaper settings that miss the SLO, were cut short or did not start have no rank."""
    found = decide_settings(
        [
            curve("misses", 1, [point(8, 10.0, 5.0)]),
            curve("cut", 1, [point(8, 20.0, 40.0)], problem="stopped"),
            JudgedSetting("dead", 1, problem="did not start: out of memory"),
            curve("good", 1, [point(8, 90.0, 40.0), point(16, 80.0, 30.0), point(32, 70.0, 10.0)]),
        ]
    )
    assert names(found) == ["good"]
    assert found.winner.best.point.level.users == 16
    assert found.runner_up is None


def test_none_meets_the_slo():
    """No winner where every level of every setting misses, and none where nothing was measured."""
    assert decide_settings([curve("a", 1, [point(8, 10.0, 5.0)])]).winner is None
    assert decide_settings([JudgedSetting("a", 1, problem="did not start")]).winner is None


@pytest.mark.parametrize(
    ("key", "values"),
    [("workload_hash", ("a", "b")), ("price", (PriceSpec(usd_per_hour=1), PriceSpec(usd_per_hour=2)))],
)
def test_unlike_settings_are_refused(key, values):
    """Costs of other work or at another price do not compare."""
    with pytest.raises(PointsError) as refused:
        decide_settings([curve("a", 1, [point(8, 10.0, 40.0)], **{key: value}) for value in values])
    assert refused.value.where == key


def test_a_setting_that_answers_longer_is_told():
    """The cheaper run may have fewer tokens: who is cheaper per token is named when it is another."""
    few, many = replace(point(8, 90.0, 40.0), output_tokens=1000), replace(point(8, 100.0, 40.0), output_tokens=2000)
    found = decide_settings([curve("few", 1, [few]), curve("many", 1, [many])])
    assert found.winner.name == "few"
    assert found.per_token_winner.name == "many"
    same = decide_settings([curve("few", 1, [few]), curve("many", 1, [replace(many, output_tokens=1000)])])
    assert same.per_token_winner is None


def test_a_clear_winner_has_probability_one():
    """Half the time at the same price, runs that differ by a percent: every draw agrees."""
    runs = [1.0, 1.01, 0.99]
    found = decide_settings([measured("fast", 1, rows(2, runs, 0.01)), measured("slow", 1, rows(2, runs, 0.02))])
    assert found.winner.name == "fast"
    assert found.p_cheapest == pytest.approx({0: 1.0, 1: 0.0}, abs=0.002)
    assert found.p_method == "block bootstrap, 2000 draws over 3 runs a level, one start of each server"


def test_twice_the_gpus_turn_it_round():
    """The fast setting on four GPUs costs more in every draw."""
    runs = [1.0, 1.01, 0.99]
    found = decide_settings([measured("fast", 4, rows(2, runs, 0.01)), measured("slow", 1, rows(2, runs, 0.02))])
    assert found.winner.name == "slow"
    assert found.p_winner == pytest.approx(1.0, abs=0.002)


def test_alike_settings_share_the_chances():
    """Two settings with the same rows: which is cheaper is a matter of chance, and both shares make one."""
    runs = [0.92, 1.0, 1.08]
    found = decide_settings([measured("a", 1, rows(2, runs, 0.01)), measured("b", 1, rows(2, runs, 0.01))])
    assert found.p_cheapest[0] == pytest.approx(0.5, abs=0.06)
    assert sum(found.p_cheapest.values()) == pytest.approx(1.0)


def test_one_setting_with_one_run_leaves_no_probability():
    """P needs several runs of every level of every setting; the one that lacks them is named."""
    found = decide_settings([measured("a", 1, rows(2, [1.0, 1.1], 0.01)), measured("b", 1, rows(2, [1.0], 0.01))])
    assert found.p_cheapest is None
    assert found.p_method == "no interval: one run of a level: b"
