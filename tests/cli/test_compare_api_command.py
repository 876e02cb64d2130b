"""`benchsuite compare-api`: the article, the paper's table, a user's prices, blends."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("in_stored")
GPT4 = "compare-api --api article/gpt-4 --preset h100-low --today 2026-04-01"
QWEN = "compare-api --points paper_table4.csv --model Qwen3-30B"


def test_the_h100_against_30_a_million(cli):
    """$1,452.70 a month breaks even at 48.4 M tokens; at 30 M it costs 61 % more than the API's $900."""
    found = cli.data(GPT4, "--capacity-tok-s 100 --tokens-per-month 30e6")
    assert found["break_even"]["simple_tokens"] == pytest.approx(48.42e6, rel=1e-3)
    assert found["break_even"]["intervals"] == [{"low": pytest.approx(48.42e6, rel=1e-3), "high": None}]
    month = found["month"]
    assert (month["api_usd"], month["own_usd"]) == (pytest.approx(900), pytest.approx(1452.70))
    assert month["saving_ratio"] == pytest.approx(-0.614, abs=1e-3)
    assert found["own"]["capacity_tokens_per_month"] == pytest.approx(0.8 * 100 * 2.628e6)
    assert found["warnings"] == []


def test_old_prices_are_named(cli):
    """Both prices of March 2026 are past 90 days in November."""
    warnings = cli.data("compare-api --api article/gpt-4 --preset h100-low --today 2026-11-21")["warnings"]
    assert ["article/gpt-4" in warnings[0], "h100-low" in warnings[1]] == [True, True]


def test_capacity_of_a_measured_level(cli):
    """The paper's Qwen3 at its optimum 64: 2,138,308 tokens in 616.77 s, 63 % of them input, on two owned A800."""
    flags = "--api openrouter/qwen3-30b-a3b --preset a800-owned --gpus 2 --tokens-per-month 2e9"
    found = cli.data(QWEN, flags, "--slo ttft_mean<1s,throughput>20")
    assert found["own"]["capacity_tok_s"] == pytest.approx(2_138_308 / 616.77, rel=1e-6)
    assert "concurrency 64" in found["own"]["measured"]
    assert found["api"]["input_ratio"] == pytest.approx(0.6302, abs=1e-4)
    assert found["own"]["replica_usd_per_month"] == pytest.approx(1.573249 * 730, rel=1e-6)
    assert found["capital"]["capex_usd"] == pytest.approx(2 * 120_000 / 7.09)
    assert found["capital"]["opex_usd_per_month"] == pytest.approx(2 * (0.084626 + 0.057963) * 730, rel=1e-5)


def test_no_level_meets_the_slo(cli):
    """Exit code 3, and nothing of one's own."""
    flags = (QWEN, "--api article/gpt-4 --preset h100-low --slo throughput>1000")
    assert cli.data(*flags, code=3)["own"] is None
    assert cli(*flags).code == 3


def test_never(cli):
    """48.4 M tokens are more than 18 tok/s serve; a payback that never comes is null."""
    flags = "--capacity-tok-s 18 --u-max 1 --tokens-per-month 1e6 --capex-usd 30000 --opex-usd-per-month 200"
    found = cli.data(GPT4, flags)
    assert found["break_even"]["intervals"] == []
    assert found["capital"]["payback_months"] is None
    assert "never pays back" in cli(GPT4, flags).words


def test_a_users_prices(cli, tmp_path):
    """LiteLLM's per-token costs become dollars per million, and are undated."""
    path = tmp_path / "litellm.json"
    path.write_text(json.dumps({"m": {"input_cost_per_token": 1e-6, "output_cost_per_token": 3e-6, "mode": "chat"}}))
    found = cli.data("compare-api --api m --usd-per-hour 1 --input-ratio 0.5 --prices", path)
    assert found["api"]["blended_usd_per_1m_tokens"] == pytest.approx(2.0)
    assert len(found["warnings"]) == 1


def test_blends(cli, tmp_path):
    """A cache, the API for the peaks, a reserved base and fine-tuning, over a history of hours."""
    path = tmp_path / "hours.csv"
    path.write_text("requests\n" + "3600\n" * 18 + "18000\n" * 6)
    flags = "--tokens-per-request 10 --capacity-tok-s 30 --u-max 1 --cache-hit-rate 0.5 --reserved-usd-per-hour 1.2"
    found = cli.data(GPT4, "--hours", path, flags, "--fine-tune-usd 1200")
    assert found["tokens_per_month"] == pytest.approx(20 * 2.628e6)
    assert found["month"]["own_usd"] == pytest.approx(1452.70 + 100)
    blends = found["blends"]
    assert blends["semantic_cache"]["replicas_with"] == 1
    peak, over = blends["own_for_the_peak"], blends["api_overflow"]
    assert (peak["replicas"], peak["usd"]) == (2, pytest.approx(2 * 1452.70 + 100))
    assert (over["replicas"], over["overflow_ratio"], over["usd"]) == (0, 1.0, pytest.approx(20 * 2.628 * 30))
    assert blends["reserved_base"]["reserved"] == 1
    assert cli(GPT4, "--hours", path, flags).code == 0


def test_the_articles_scenarios(cli):
    """Computed beside printed, which were wrong by a factor of a thousand."""
    found = cli.data("compare-api --scenarios article_scenarios.toml")
    assert [round(row["api_usd"], 2) for row in found] == [1.5, 900.0, 18_000.0]
    assert [round(row["own_usd"], 2) for row in found] == [252.0, 1452.7, 5810.8]
    assert found[1]["printed"]["api_usd"] == 900_000.0


def test_the_bundled_apis_have_a_source_and_a_date(cli):
    """--list-apis, as JSON."""
    assert all(row["source"] and row["as_of"] for row in cli.data("compare-api --list-apis"))
