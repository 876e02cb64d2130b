"""summary.json: the keys that others read, and null for what is missing."""

from __future__ import annotations

import json
from pathlib import Path

from benchsuite.analysis.metrics import parse_points
from benchsuite.economics.decision import decide, judge_points
from benchsuite.report.export import summary_json
from benchsuite.slo import parse_slo

TABLE4 = Path(__file__).parents[2] / "docs" / "examples" / "paper_table4.csv"
TOP = {"schema", "run_id", "model", "slo", "usd_per_hour", "gpus", "usd_per_hour_total", "points", "optimum"}
POINT = [
    "concurrency", "repeat_count", "n_ok", "n_failed", "error_rate", "failures", "duration_s", "ttft_s", "ttfa_s",
    "tpot_s", "e2e_s", "itl_s", "dispatch_s", "output_tok_s_per_user", "decode_tok_s", "output_tok_s",
    "total_tok_s", "request_per_s", "input_tokens", "output_tokens", "steady", "occupancy", "max_in_flight",
    "little_error", "cost_usd", "usd_per_1m_output_tokens", "usd_per_1m_total_tokens", "usd_per_request",
    "meets_slo", "misses", "warnings",
]  # fmt: skip


def summary(slo_text: str) -> dict:  # type: ignore[type-arg]
    slo = parse_slo(slo_text)
    points = [p for p in parse_points(TABLE4.read_text("utf-8"), where="t") if p.model == "Mistral-Small"]
    judged = judge_points(points, slo, 1.58)
    made = summary_json(
        run_id="r", model="m", judged=judged, decision=decide(judged, slo), slo=slo, usd_per_hour=0.79, gpus=2
    )
    return json.loads(json.dumps(made, allow_nan=False))


def test_keys_and_optimum():
    """What other programs read, by name."""
    made = summary("ttft_mean<1s,throughput>20")
    assert set(made) == TOP | {"no_feasible"}
    assert (made["schema"], made["usd_per_hour_total"], made["no_feasible"]) == (1, 1.58, None)
    for point in made["points"]:
        assert set(POINT) <= set(point)
        assert list(point["ttft_s"]) == ["n", "mean", "p50", "p90", "p95", "p99", "max"]
    optimum = made["optimum"]
    assert optimum["concurrency"] == 64
    assert round(optimum["cost_usd"], 2) == 0.25
    assert optimum["runner_up"]["concurrency"] == 32
    keys = {"concurrency", "binding", "cost_usd", "usd_per_1m_output_tokens", "runner_up", "reason"}
    assert set(optimum) == keys | {"recommended_concurrency", "p_opt", "p_by_level", "p_method"}
    assert (optimum["p_opt"], optimum["p_by_level"], optimum["p_method"]) == (None, None, "no interval: one run")


def test_missing_is_null_and_unknown_is_said():
    """Level 48 has no TTFT: not met, with the doubt named."""
    point = next(p for p in summary("ttft_mean<1s")["points"] if p["concurrency"] == 48)
    assert point["ttft_s"]["mean"] is None
    assert (point["meets_slo"], point["misses"], point["unknown"]) == (False, [], ["ttft_mean < 1 s unknown"])


def test_no_feasible_level():
    """optimum is null; the nearest miss is there."""
    made = summary("throughput>100")
    assert made["optimum"] is None
    assert made["no_feasible"]["nearest"]["concurrency"] == 8
