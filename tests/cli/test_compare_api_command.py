"""`benchsuite compare-api` from the outside: the article, the paper's table, a run folder, and nonsense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchsuite.cli.compare_api import command
from benchsuite.errors import BenchsuiteError

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TABLE4 = ("--points", str(EXAMPLES / "paper_table4.csv"), "--model", "Qwen3-30B")
GPT4 = ("--api", "article/gpt-4", "--preset", "h100-low", "--today", "2026-04-01")


def run(*flags: str) -> tuple[int, str]:
    done = CliRunner().invoke(command, flags, catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout


def compared(*flags: str) -> dict[str, Any]:
    code, text = run(*flags, "--json")
    assert code == 0
    return json.loads(text)


def test_the_h100_against_30_a_million():
    """$1,452.70 a month breaks even at 48.4 M tokens; at 30 M it costs 61 % more than the API's $900."""
    found = compared(*GPT4, "--capacity-tok-s", "100", "--tokens-per-month", "30e6")
    assert found["break_even"]["simple_tokens"] == pytest.approx(48.42e6, rel=1e-3)
    assert found["break_even"]["intervals"] == [{"low": pytest.approx(48.42e6, rel=1e-3), "high": None}]
    assert found["month"]["api_usd"] == pytest.approx(900)
    assert found["month"]["own_usd"] == pytest.approx(1452.70)
    assert found["month"]["saving_ratio"] == pytest.approx(-0.614, abs=1e-3)
    assert found["own"]["capacity_tokens_per_month"] == pytest.approx(0.8 * 100 * 2.628e6)
    assert found["warnings"] == []


def test_old_prices_are_named():
    """Both prices of March 2026 are past 90 days in November."""
    found = compared(*GPT4[:4], "--today", "2026-11-21")
    assert [warning.split(" is of ")[0] for warning in found["warnings"]] == [
        "the price of article/gpt-4",
        "the price of h100-low",
    ]


def test_capacity_of_a_measured_level():
    """The paper's Qwen3 at its optimum 64: 2,138,308 tokens in 616.77 s, 63 % of them input, on two owned A800."""
    flags = ("--api", "openrouter/qwen3-30b-a3b", "--preset", "a800-owned", "--gpus", "2", "--tokens-per-month", "2e9")
    found = compared(*TABLE4, *flags, "--slo", "ttft_mean<1s,throughput>20")
    assert found["own"]["capacity_tok_s"] == pytest.approx(2_138_308 / 616.77, rel=1e-6)
    assert "concurrency 64" in found["own"]["measured"]
    assert found["api"]["input_ratio"] == pytest.approx(0.6302, abs=1e-4)
    assert found["own"]["replica_usd_per_month"] == pytest.approx(1.573249 * 730, rel=1e-6)
    capital = found["capital"]
    assert capital["capex_usd"] == pytest.approx(2 * 120_000 / 7.09)
    assert capital["opex_usd_per_month"] == pytest.approx(2 * (0.084626 + 0.057963) * 730, rel=1e-5)


def test_no_level_meets_the_slo():
    """Exit code 3 with the reason, in both forms."""
    flags = (*TABLE4, *GPT4, "--slo", "throughput>1000")
    code, text = run(*flags, "--json")
    assert (code, json.loads(text)["own"]) == (3, None)
    code, text = run(*flags)
    assert code == 3
    assert "no level meets the SLO" in text


def test_never_is_said():
    """48.4 M tokens are more than 18 tok/s serve; a payback that never comes is null, and said."""
    flags = (*GPT4, "--capacity-tok-s", "18", "--u-max", "1", "--tokens-per-month", "1e6")
    flags += ("--capex-usd", "30000", "--opex-usd-per-month", "200")
    found = compared(*flags)
    assert found["break_even"]["intervals"] == []
    assert found["capital"]["payback_months"] is None
    text = run(*flags)[1]
    assert "own is cheaper never: it would take" in text
    assert "never pays back" in text


def test_a_users_prices(tmp_path):
    """LiteLLM's per-token costs become dollars per million, and are undated."""
    path = tmp_path / "litellm.json"
    path.write_text(json.dumps({"m": {"input_cost_per_token": 1e-6, "output_cost_per_token": 3e-6, "mode": "chat"}}))
    found = compared("--prices", str(path), "--api", "m", "--usd-per-hour", "1", "--input-ratio", "0.5")
    assert found["api"]["blended_usd_per_1m_tokens"] == pytest.approx(2.0)
    assert found["warnings"] == ["the price of m has no date"]


def test_blends(tmp_path):
    """A cache, the API for the peaks, a reserved base and fine-tuning, over a history of hours."""
    path = tmp_path / "hours.csv"
    path.write_text("requests\n" + "3600\n" * 18 + "18000\n" * 6)
    flags = (*GPT4, "--hours", str(path), "--tokens-per-request", "10", "--capacity-tok-s", "30", "--u-max", "1")
    flags += ("--cache-hit-rate", "0.5", "--reserved-usd-per-hour", "1.2", "--fine-tune-usd", "1200")
    found = compared(*flags)
    assert found["tokens_per_month"] == pytest.approx(20 * 2.628e6)
    assert found["blends"]["semantic_cache"]["replicas_with"] == 1
    assert found["blends"]["own_for_the_peak"]["replicas"] == 2
    assert found["blends"]["own_for_the_peak"]["usd"] == pytest.approx(2 * 1452.70 + 100)
    over = found["blends"]["api_overflow"]
    assert (over["replicas"], over["overflow_ratio"], over["usd"]) == (0, 1.0, pytest.approx(20 * 2.628 * 30))
    assert found["blends"]["reserved_base"]["reserved"] == 1
    assert found["month"]["own_usd"] == pytest.approx(1452.70 + 100)
    text = run(*flags)[1]
    assert "with the cache" in text
    assert "cheapest blend" in text
    assert "cheapest rent" in text


def test_the_articles_scenarios():
    """Computed and printed beside each other, and why they differ."""
    flags = ("--scenarios", str(EXAMPLES / "article_scenarios.toml"))
    found = json.loads(run(*flags, "--json")[1])
    assert [round(row["api_usd"], 2) for row in found] == [1.5, 900.0, 18_000.0]
    assert [round(row["own_usd"], 2) for row in found] == [252.0, 1452.7, 5810.8]
    assert found[1]["printed"]["api_usd"] == 900_000.0
    assert "$900,000.00" in run(*flags)[1]


def test_the_bundled_apis_are_listed():
    """With source and date."""
    assert all(row["source"] and row["as_of"] for row in json.loads(run("--list-apis", "--json")[1]))
    assert "article/gpt-4" in run("--list-apis")[1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--usd-per-hour", "1"), "--api"),
        ((*GPT4, "--api-input-usd-per-1m", "1"), "exactly one way"),
        (("--api-input-usd-per-1m", "1", "--usd-per-hour", "1"), "exactly one way"),
        (("--api-input-usd-per-1m", "-1", "--api-output-usd-per-1m", "1", "--usd-per-hour", "1"), "input_usd_per_1m"),
        (("--api-input-usd-per-1m", "3e-6", "--api-output-usd-per-1m", "1", "--usd-per-hour", "1"), "per token"),
        (("--api", "openai/gpt-4o", "--usd-per-hour", "1"), "--input-ratio"),
        (("--api", "article/gpt-4"), "--usd-per-hour"),
        (("--api", "article/gpt4", "--usd-per-hour", "1"), "did you mean 'article/gpt-4'"),
        ((*GPT4, "--usd-per-hour", "1"), "two prices"),
        ((*GPT4, "--input-ratio", "1.1"), "input_ratio"),
        ((*GPT4, "--capacity-tok-s", "0"), "capacity_tok_s"),
        ((*GPT4, "--capacity-tok-s", "9", "--u-max", "0"), "u_max"),
        ((*GPT4, "--tokens-per-month", "-1"), "tokens_per_month"),
        ((*GPT4, "--tokens-per-month", "1e6", "--cache-hit-rate", "1.2"), "cache_hit_rate"),
        ((*GPT4, "--cache-hit-rate", "0.2"), "a cache needs a demand"),
        ((*GPT4, "--tokens-per-month", "1e6", "--capex-usd", "1"), "--opex-usd-per-month"),
        ((*GPT4, "--retrain-usd-per-year", "nan"), "retrain_usd_per_year"),
        ((*GPT4, "--fixed-usd-per-month", "-1"), "fixed_usd_per_month"),
        ((*GPT4, "--reserved-usd-per-hour", "1"), "a base load needs a histogram"),
        ((*GPT4, "--prices", "no-such-file.toml"), "cannot be read"),
        ((*GPT4, "--today", "tomorrow"), "--today"),
    ],
)
def test_nonsense_is_refused(flags, message):
    """One message that names the flag or key, exit code 2."""
    with pytest.raises(BenchsuiteError, match=message) as caught:
        run(*flags)
    assert caught.value.exit_code == 2
