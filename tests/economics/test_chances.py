"""P_met, P_opt and the SLO's verdict: from rows whose spread is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from points_for_tests import point

from benchsuite.analysis.requests import COLUMNS
from benchsuite.analysis.summary import measure_levels
from benchsuite.economics.cost import cost_intervals
from benchsuite.economics.decision import DecisionUncertainty, chances, decide, judge_points
from benchsuite.level import Level
from benchsuite.results import Estimate, EvaluatedLevel
from benchsuite.slo import parse_slo

TOKENS = 11


def rows(level: int, factors: list[float], gap_s: float, n: int = 200, ttft_s: float = 0.1, noise: float = 0.1) -> Any:
    """Runs of n requests by `level` users, one after another; run r is slower by factors[r]."""
    rng = np.random.default_rng(level)
    parts = []
    for repeat, factor in enumerate(factors):
        own = factor * np.exp(noise * rng.standard_normal(n))
        ttft, span = own * ttft_s, own * gap_s * (TOKENS - 1)
        sent = np.empty(n)
        for user in range(level):
            sent[user::level] = np.concatenate([[0.0], np.cumsum((ttft + span)[user::level])[:-1]])
        columns: dict[str, Any] = dict.fromkeys(COLUMNS, 0) | dict.fromkeys(("window_start_s", "window_end_s")) | {
            "concurrency": level, "repeat": repeat, "scheduled_s": sent, "sent_s": sent, "first_token_s": sent + ttft,
            "first_answer_s": sent + ttft, "last_token_s": sent + ttft + span, "closed_s": sent + ttft + span,
            "input_tokens": 5, "output_tokens": TOKENS, "asked_output_tokens": TOKENS, "status": "ok",
            "token_source": "usage", "finish_reason": "stop",
            "chunk_gap_us": [[round(g * 1e6)] * (TOKENS - 1) for g in span / (TOKENS - 1)],
        }  # fmt: skip
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts)


def judged(*levels: Any, slo: str = "ttft_mean<1s,output_throughput_per_user>20", usd: float | None = 3.6) -> Any:
    limits = parse_slo(slo)
    measured = list(measure_levels(pd.concat(levels), limits, model="m"))
    found = chances([level.resampling for level in measured], free=usd == 0)
    # the rows are no closed loop: what is said of their overlap is not the matter here
    points = judge_points([replace(level.point, warnings=()) for level in measured], limits, usd, found)
    return points, decide(points, found)


def test_a_clear_case():
    """2 meets the SLO by far, 4 misses it by far: no draw says otherwise, and intervals hold their values."""
    points, decision = judged(rows(2, [1.0, 1.01, 0.99], 0.01), rows(4, [1.0, 1.01, 0.99], 0.06))
    assert [one.slo_verdict for one in points] == ["met", "not met"]
    assert [one.p_met for one in points] == pytest.approx([1.0, 0.0], abs=0.002)
    assert decision.p_by_level == pytest.approx({Level(2): 1.0, Level(4): 0.0}, abs=0.002)
    assert decision.p_method == "joint block bootstrap, 2000 draws over 3 runs a level"
    for one in points:
        assert all(e.low <= e.value <= e.high for e in one.intervals.values())
        assert set(one.intervals) >= {
            "duration_s", "ttft_mean_s", "ttft_p50_s", "ttft_p95_s", "ttft_p99_s", "tpot_mean_s",
            "output_tok_s_per_user", "output_tok_s", "cost_usd", "usd_per_1m_output_tokens",
        }  # fmt: skip


def test_a_level_on_the_edge_is_undecided():
    """At 4 the mean speed is a few percent above the limit and runs differ by ten: both levels are picked at times."""
    points, decision = judged(rows(2, [0.92, 1.0, 1.08], 0.02), rows(4, [0.92, 1.0, 1.08], 0.041))
    assert [one.slo_verdict for one in points] == ["met", "undecided"]
    assert 0.3 < points[1].p_met < 0.9
    assert sum(decision.p_by_level.values()) == pytest.approx(1.0, abs=0.002)  # else no level meets the SLO
    assert decision.p_by_level[Level(4)] == pytest.approx(points[1].p_met, abs=0.002)


def test_the_same_rows_give_the_same_chances():
    """Resampling has a fixed seed."""
    levels = rows(2, [0.92, 1.0, 1.08], 0.02), rows(4, [0.92, 1.0, 1.08], 0.041)
    assert judged(*levels)[1].p_by_level == judged(*levels)[1].p_by_level


def test_one_run():
    """No interval of what a run has one of, no P; latencies have one within the run. Limits far away are decided."""
    points, decision = judged(rows(2, [1.0], 0.02), rows(4, [1.0], 0.06))
    assert [one.slo_verdict for one in points] == ["met", "not met"]
    assert (points[0].p_met, decision.p_opt, decision.p_by_level) == (None, None, {})
    assert decision.p_method == "no interval: one run"
    found = points[0].intervals
    for name in ("duration_s", "output_tok_s_per_user", "cost_usd", "usd_per_1m_output_tokens"):
        assert (found[name].low, found[name].method) == (None, "no interval: one run")
    assert found["ttft_mean_s"].low < 0.1 < found["ttft_mean_s"].high
    assert found["ttft_mean_s"].method == "30 batch means of one run"


def test_a_level_with_one_run_among_others():
    """No P_opt, and the method says for which level; the others keep their P_met."""
    points, decision = judged(rows(2, [1.0, 1.1], 0.02), rows(4, [1.0], 0.06))
    assert (decision.p_opt, decision.p_method) == (None, "no interval: one run at 4")
    assert points[0].p_met is not None


def test_a_tail_limit_needs_its_numbers():
    """All of 200 within a p99 limit prove nothing, all of 600 do; twenty in 600 beyond it disprove it."""
    slo = "ttft_p99<1s"
    assert judged(rows(2, [1.0], 0.02), slo=slo)[0][0].slo_verdict == "undecided"
    assert judged(rows(2, [1.0], 0.02, n=600), slo=slo)[0][0].slo_verdict == "met"
    assert judged(rows(2, [1.0, 1.0, 1.0], 0.02), slo=slo)[0][0].slo_verdict == "met"
    slow = rows(2, [1.0, 1.0, 1.0], 0.02)
    late = np.arange(len(slow)) % 30 == 0
    slow.loc[late, ["first_token_s", "first_answer_s"]] += 2
    slow.loc[late, ["last_token_s", "closed_s"]] += 2
    assert judged(slow, slo=slo)[0][0].slo_verdict == "not met"


def test_gaps_and_rates_are_resampled_too():
    """Every kind of limit has its sums, and they agree with what was measured."""
    slo = "itl_mean<21ms,itl_p99<40ms,tpot<21ms,e2e_p99<1s,decode_throughput>40,throughput>50,rps>5,error_rate<1%"
    (point_,), _ = judged(rows(2, [1.0, 1.0, 1.0], 0.02, noise=0.01), slo=slo)
    assert (point_.misses, point_.doubts, point_.p_met, point_.slo_verdict) == ((), (), 1.0, "met")


@pytest.mark.parametrize("slo", ["e2e_max<1s", "attainment>=100% goodput:e2e<1s"])
def test_no_number_of_requests_proves_all_of_them(slo):
    """A limit on every request can be missed, and never be proven to be kept."""
    (point_,), _ = judged(rows(2, [1.0, 1.0, 1.0], 0.02, n=600), slo=slo)
    assert point_.slo_verdict == "undecided"
    assert {check.why for check in point_.limits if check.asked} == {"all"}


def test_a_free_machine_takes_the_lowest_level():
    """At no cost per hour all levels cost the same."""
    levels = rows(2, [1.0, 1.01], 0.01), rows(4, [1.0, 1.01], 0.01)
    assert judged(*levels)[1].p_by_level[Level(4)] > 0.99
    assert judged(*levels, usd=0.0)[1].p_by_level[Level(2)] > 0.99


def test_the_tie_rule():
    """The cheapest at 60 %: the lower level that costs 4 % more is recommended, not the one that costs 10 % more."""
    slo = parse_slo("output_throughput_per_user>20")
    points = judge_points([point(8, 110, 50), point(16, 104, 40), point(32, 100, 30)], slo, 3600.0)

    def advice(p: dict[int, float]) -> int:
        decision = decide(points, DecisionUncertainty(p_by_level={Level(users): share for users, share in p.items()}))
        assert decision.kind == "optimum"
        assert decision.choice.point.level.users == 32
        return decision.recommended.point.level.users

    assert advice({8: 0.1, 16: 0.3, 32: 0.6}) == 16
    assert advice({8: 0.0, 16: 0.1, 32: 0.9}) == 32


def test_unknown_stays_unknown():
    """A figure that is missing proves nothing; a limit that is proven missed decides all the same."""
    slo = parse_slo("ttft_mean<1s,output_throughput_per_user>20")
    verdicts = [one.slo_verdict for one in judge_points([point(8, 100, 50, None), point(8, 100, 5, None)], slo, 1.0)]
    assert verdicts == ["unknown", "not met"]


def test_cost_follows_time_and_tokens():
    """$3.60/h is $0.001 a second: 100 s [90, 110] cost $0.10 [0.09, 0.11], 50 tok/s [40, 60] $20 [16.67, 25]."""
    (one,) = judge_points(
        [replace(point(8, 100, 50), output_tokens=5000)], parse_slo("output_throughput_per_user>1"), 3.6
    )
    intervals = {"duration_s": Estimate(100, 90, 110, 3, "t"), "output_tok_s": Estimate(50, 40, 60, 3, "t")}
    found = cost_intervals(one.cost, intervals)
    assert (found["cost_usd"].low, found["cost_usd"].high) == (pytest.approx(0.09), pytest.approx(0.11))
    per_1m = found["usd_per_1m_output_tokens"]
    assert (per_1m.value, per_1m.low, per_1m.high) == pytest.approx((20, 1000 / 60, 25))
    assert isinstance(one, EvaluatedLevel)
