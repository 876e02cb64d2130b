"""The one verdict on a limit: right where the truth is known, and the same on every way to it."""

from __future__ import annotations

from dataclasses import replace
from string import Formatter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from points_for_tests import point

from benchsuite.analysis.requests import COLUMNS
from benchsuite.analysis.slo_test import RunFigures, TailCount, n_min
from benchsuite.analysis.summary import measure_levels
from benchsuite.analysis.warnings import ClientVerdict
from benchsuite.economics.decision import DecisionUncertainty, chances, decide, judge_points
from benchsuite.economics.verdict import _counted, _over_runs, check_limits, repeats_to_decide, why_text
from benchsuite.level import Level
from benchsuite.results import EvaluatedLevel, LimitCheck
from benchsuite.slo import GUARDS, Limit, Slo, parse_slo
from benchsuite.warning_table import DISTURBING, WARNINGS, Finding, warn


def p95_check(runs: np.ndarray, limit_s: float) -> LimitCheck:
    """A p95 of (runs, requests) independent times against its limit."""
    limit = Limit("ttft_s", "p95", "<", limit_s)
    each = np.sort(runs, axis=1)[:, int(np.ceil(0.95 * runs.shape[1])) - 1]
    tail = TailCount(runs.size, int((runs >= limit_s).sum()), float(runs.size))
    return _over_runs(limit, float(np.quantile(runs, 0.95)), RunFigures(each, None), tail)


def test_a_percentile_limit_knows_what_runs_differ_by():
    """The limit is the true p95, runs differ by 5 %: met in at most 5 % of sweeps (the count alone: 16 %); a limit
    20 % away is met in nearly all."""
    rng = np.random.default_rng(1)
    true = float(np.exp(0.5 * 1.6448536))
    at, away = [], []
    for _ in range(400):
        runs = np.exp(0.05 * rng.standard_normal((3, 1)) + 0.5 * rng.standard_normal((3, 2993)))
        at.append(p95_check(runs, true).verdict)
        away.append(p95_check(runs, 1.2 * true).verdict)
    assert at.count("met") <= 0.07 * 400  # 5 % with the noise of 400 sweeps
    assert at.count("not met") <= 0.07 * 400
    assert away.count("met") >= 0.95 * 400


def law(level: int, n: int, repeats: int, seed: int, cv: float = 0.02) -> pd.DataFrame:
    """Steps of 10 ms + 0.5 ms for each request in flight, a prefill of 50 ms, about 64 tokens an answer; a closed loop
    of `level` users, each repeat as fast as `cv` has it."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for repeat in range(repeats):
        speed = float(np.exp(cv * rng.standard_normal()))
        now, sent_n, flight = 0.0, min(level, n), []
        wanted = np.clip(64 * np.exp(0.4 * rng.standard_normal(n)), 8, 250).astype(int)
        flight = [(0.0, int(wanted[i]), []) for i in range(sent_n)]  # sent, tokens, their times
        while flight:
            now += (0.010 + 0.0005 * len(flight)) * speed
            for one in list(flight):
                sent, tokens, stamps = one
                if now >= sent + 0.05:
                    stamps.append(now)
                if len(stamps) < tokens:
                    continue
                flight.remove(one)
                if sent_n < n:
                    flight.append((now, int(wanted[sent_n]), []))
                    sent_n += 1
                rows.append(dict.fromkeys(COLUMNS, 0) | dict.fromkeys(("window_start_s", "window_end_s")) | {
                    "concurrency": level, "repeat": repeat, "scheduled_s": sent, "sent_s": sent,
                    "first_token_s": stamps[0], "first_answer_s": stamps[0], "last_token_s": now, "closed_s": now,
                    "input_tokens": 5, "output_tokens": tokens, "asked_output_tokens": tokens, "status": "ok",
                    "token_source": "usage", "finish_reason": "length",
                    "chunk_gap_us": [round(g * 1e6) for g in np.diff(stamps)],
                })  # fmt: skip
    return pd.DataFrame(rows)


def judged(rows: pd.DataFrame, slo: str) -> EvaluatedLevel:
    limits = parse_slo(slo)
    measured = list(measure_levels(rows, limits, model="m"))
    found = chances([level.resampling for level in measured])
    return judge_points([level.point for level in measured], limits, 3.6, found)[0]


def test_ramp_up_and_drain_are_not_the_server():
    """96 requests at 16 users: the whole run is a tenth too slow; the verdict and P(SLO) are of the steady window."""
    long = judged(law(16, 1600, 1, 9, 0.0), "output_throughput_per_user>1")
    truth = long.point.ratios["output_tok_s_per_user"]
    short = judged(law(16, 96, 3, 6), f"output_throughput_per_user>{0.93 * truth}")
    (check, *_) = short.limits
    assert short.point.ratios["output_tok_s_per_user"] < 0.93 * truth  # what was judged before
    assert check.steady
    assert check.value == pytest.approx(truth, rel=0.04)
    assert check.verdict != "not met"
    assert short.p_met > 0.5
    assert judged(law(16, 96, 3, 3), f"output_throughput_per_user>{1.2 * truth}").slo_verdict == "not met"


def test_a_run_too_short_to_be_steady_proves_no_miss():
    """20 requests of 16 users: slower than the limit as a whole, and a longer run would tell, of 160 requests."""
    rate = judged(law(16, 20, 3, 4), "output_throughput_per_user>1").point.ratios["output_tok_s_per_user"]
    (check, *_) = judged(law(16, 20, 3, 4), f"output_throughput_per_user>{1.15 * rate}").limits
    assert (check.verdict, check.why, check.requests) == ("undecided", "ramp", 480)


def test_the_count_names_the_requests_that_a_pass_needs():
    """6 of 96 beyond a p95: 288 independent requests with no more; 165 belong to 2."""
    assert (n_min(0.95, 6), n_min(0.95, 2)) == (288, 165)
    limit = Limit("ttft_s", "p95", "<", 0.5)
    check = _counted(LimitCheck(limit, 0.48, "met", "one_run", {"spread": 0.25}), TailCount(96, 6, 32.0))
    assert (check.verdict, check.values["wanted"]) == ("undecided", 288)
    assert "288" in why_text(check)


def test_repeats_hold_for_all_criteria_together():
    """What decides one in 80 % decides twelve in far less: the number rises with them, and it does hold for all."""
    limit = Limit("ttft_s", "mean", "<", 1.0)
    one = LimitCheck(limit, 0.95, "undecided", "runs", {"runs": 3, "p": 0.8, "sd": 0.05, "distance": 0.05}, repeats=9)
    few, many = repeats_to_decide([one]), repeats_to_decide([one] * 12)
    assert few == 9
    assert many > few
    rng = np.random.default_rng(3)
    runs = 0.95 * np.exp(0.05 * rng.standard_normal((150, 12, many)))
    all_met = [
        all(_over_runs(limit, 0.95, RunFigures(each, None), None).verdict == "met" for each in gate) for gate in runs
    ]
    assert np.mean(all_met) >= 0.75


def client(lag_ms: float) -> ClientVerdict:
    figures: dict[str, float | None] = {"read_lag_p99_ms": lag_ms, "late_share": 0.2}
    return ClientVerdict("client-bound", "late", ("merged",), figures)


@pytest.mark.parametrize(
    ("ttft_s", "lag_ms", "verdict"),
    [(0.423, 2.0, "not met"), (0.423, 300.0, "undecided"), (0.05, 2.0, "undecided")],
)
def test_a_client_at_its_limit(ttft_s, lag_ms, verdict):
    """423 ms against 150 ms is a miss that 2 ms of lag did not make; a pass of such a client proves nothing."""
    level = point(8, 10.0, 30.0, ttft_s, warnings=(warn(
        "client_bound", Level(8), what="was late", reasons="merged", remedy="cores"),))  # fmt: skip
    slo = parse_slo("ttft_mean<150ms")
    assert [check.verdict for check in check_limits(level, slo, None, client(lag_ms))] == [verdict]
    beyond_doubt = "not met" if ttft_s > 0.15 else "met"
    assert [check.verdict for check in check_limits(level, slo)] == [beyond_doubt]


@pytest.mark.parametrize("code", DISTURBING)
def test_a_disturbed_level_proves_nothing(code):
    """Neither a pass nor, but under what flatters, a miss."""
    texts = WARNINGS[code].finding + WARNINGS[code].remedy
    values = {name: 7 for _, name, *_ in Formatter().parse(texts) if name not in (None, "level")}
    level = point(8, 10.0, 30.0, 0.05, warnings=(Finding(code, Level(8), values),))
    unclear = client(1e6) if code == "client_bound" else None
    found = [check_limits(level, parse_slo(f"ttft_mean<{ms}ms"), None, unclear)[0].verdict for ms in (100, 35)]
    assert found == ["undecided", "not met" if DISTURBING[code] == "flatters" else "undecided"]


def test_a_sure_level_is_recommended_before_a_lower_one():
    """8 users: undecided; 16: sure and cheaper. The lower one is not the safer."""
    slo = parse_slo("ttft_mean<0.42s")
    unsure, sure = judge_points([point(8, 102, 50, 0.41), point(16, 100, 40, 0.1)], slo, 3600.0)
    assert (unsure.slo_verdict, sure.slo_verdict) == ("undecided", "met")
    for p_by_level in ({Level(8): 0.3, Level(16): 0.7}, {Level(8): 0.0, Level(16): 1.0}, None):
        found = decide([unsure, sure], DecisionUncertainty(p_by_level=p_by_level))
        assert found.recommended.point.level.users == 16
    found = decide(
        [replace(unsure, limits=sure.limits), sure], DecisionUncertainty(p_by_level={Level(8): 0.3, Level(16): 0.7})
    )
    assert found.recommended.point.level.users == 8  # both sure: the lower


def test_what_nobody_asked_for_bars_only_where_it_is_proven():
    """1 of 96 failed, or without a token: not proven, and no bar; 12 of 96 are."""

    def level(failed: int, empty: int) -> EvaluatedLevel:
        of = point(8, 10.0, 100.0, n_ok=96 - failed, n_failed=failed, error_rate=failed / 96, empty_rate=empty / 96)
        return judge_points([of], parse_slo("output_throughput_per_user>20"), 1.0)[0]

    assert [one.slo_verdict for one in (level(0, 0), level(1, 0), level(0, 1))] == ["met"] * 3
    assert [one.slo_verdict for one in (level(12, 0), level(0, 12))] == ["not met"] * 2
    assert level(0, 12).misses == (f"{GUARDS[1]} missed: 12.5 %",)
    assert [c.verdict for c in level(1, 0).limits] == ["met", "undecided", "undecided"]


def test_an_empty_answer_is_no_success():
    """A tenth of the answers end without a token: the level is not met, whatever its speed."""
    rows = law(4, 200, 1, 5)
    rows.loc[rows.index % 10 == 0, ["output_tokens", "first_token_s", "first_answer_s", "last_token_s"]] = [0] + [
        np.nan
    ] * 3
    level = judged(rows, "ttft_mean<100s")
    assert level.point.ratios["empty_rate"] == pytest.approx(0.1)
    assert level.slo_verdict == "not met"


def test_one_run_is_decided_only_far_from_the_limit():
    """Runs are taken to differ by 10 %: 3 % away is undecided, 60 % is not; and what would decide is said."""
    slo = parse_slo("output_throughput_per_user>20")
    verdicts = [judge_points([point(8, 60, rate)], slo, 3600.0)[0].slo_verdict for rate in (20.6, 32, 19.4, 8)]
    assert verdicts == ["undecided", "met", "undecided", "not met"]
    near = decide(judge_points([point(8, 60, 23)], slo, 3600.0))
    assert (near.verdict, near.effort.repeats, near.effort.more) == ("undecided", 5, 4)
    assert (near.effort.minutes, near.effort.usd) == (pytest.approx(4.0), pytest.approx(240.0))
    assert decide(judge_points([point(8, 60, 20.001)], slo, 3600.0)).effort is None
    assert Slo(()).effective == GUARDS
