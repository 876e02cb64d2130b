"""`benchsuite frontier`: the paper's tables, and run folders."""

from __future__ import annotations

import json

import pytest
from factory import run_folder

pytestmark = pytest.mark.usefixtures("in_stored")
PAPER = (
    "frontier --levels-csv paper_table4.csv --scores paper_scores.csv --slo ttft_mean<1s,output_throughput_per_user>20"
)
PRICED = f"{PAPER} --usd-per-hour 1.58"


def placed(cli, *words):
    return {row["model"]: row for row in cli.data(*words)}


def test_the_papers_frontier(cli):
    """gpt-oss, Mistral, Qwen3 and WiNGPT-3.5 at the costs of Table 2; the other five are dominated."""
    found = placed(cli, PRICED)
    assert len(found) == 9
    on = {model: round(row["cost_usd"], 2) for model, row in found.items() if row["on_frontier"]}
    assert on == {"gpt-oss-20b-low": 0.11, "Mistral-Small": 0.25, "Qwen3-30B": 0.27, "WiNGPT-3.5": 0.34}
    assert found["Seed-OSS-36B"]["dominated_by"] == ["WiNGPT-3.5"]
    assert all(row["dominated_by"] for row in found.values() if not row["on_frontier"])
    assert (found["Qwen3-30B"]["score"], found["Qwen3-30B"]["params_b"]) == (66.9, 30)
    assert {row["p_on_frontier"] for row in found.values()} == {None}
    # what is held against a level that was chosen: Qwen3's optimum hangs on less than 1 %
    assert any(text.startswith("fragile_optimum") for text in found["Qwen3-30B"]["warnings"])
    assert found["Mistral-Small"]["warnings"] == []


def test_a_price_file(cli, tmp_path):
    """A price of one's own by name, with its source and date among the assumptions."""
    prices = tmp_path / "p.toml"
    prices.write_text('[presets.mine]\nusd_per_hour = 1.58\nsource = "a quote"\nas_of = "2026-11-01"\nnote = "n"\n')
    flags = (PAPER, "--preset mine --prices", prices)
    assert placed(cli, *flags)["Mistral-Small"]["cost_usd"] == pytest.approx(0.2454, abs=1e-4)
    assert "mine: a quote, 2026-11-01" in cli(*flags).words


def test_nobody_is_dropped(cli, tmp_path):
    """Unscored, unmeasured and infeasible models are listed with a reason."""
    scores = tmp_path / "s.csv"
    scores.write_text("model,score,n\nQwen3-30B,66.9,500\nWiNGPT-3.0,69.6,500\nelsewhere,99,500\n")
    found = placed(
        cli,
        "frontier --levels-csv paper_table4.csv --slo output_throughput_per_user>35 --usd-per-hour 1.58 --scores",
        scores,
    )
    assert len(found) == 10
    assert found["Qwen3-30B"]["on_frontier"] is True
    assert 0 < found["Qwen3-30B"]["p_on_frontier"] <= 1
    assert found["Qwen3-30B"]["usd_per_1m_correct_answers"] > 0
    reasons = [found[model]["reason"] for model in ("elsewhere", "gpt-oss-20b-low", "WiNGPT-2.7")]
    assert None not in reasons
    assert len(set(reasons)) == 3


def test_no_model_meets_the_slo(cli):
    """Everyone with a reason; exit code 3, for they miss it by far."""
    rows = cli.data(PRICED, "--slo output_throughput_per_user>500", code=3)
    assert all(row["reason"] and row["cost_usd"] is None for row in rows)


def two_runs(tmp_path, scores="model,score,n\na,60,100\nb,70,100\n", **more):
    """Runs of models a and b, and their scores, as words of the command."""
    (tmp_path / "s.csv").write_text(scores)
    runs = [run_folder(tmp_path / model, model=model, **more) for model in ("a", "b")]
    return ("frontier", *runs, "--scores", tmp_path / "s.csv")


def test_run_folders_with_repeats(cli, tmp_path):
    """Repeats give the cost an interval, here of no width: both runs took 0.96 s at $3.60 an hour."""
    found = placed(cli, *two_runs(tmp_path, repeats=2))
    assert found["a"]["cost_usd"] == pytest.approx(0.96e-3)
    assert found["a"]["cost_low_usd"] == pytest.approx(found["a"]["cost_high_usd"])
    assert (found["b"]["on_frontier"], found["a"]["dominated_by"]) == (True, ["b"])
    assert found["a"]["p_on_frontier"] == pytest.approx(0.07, abs=0.02)  # z = -10 / sqrt(24 + 21)
    assert found["b"]["held_fixed"] == []


def test_runs_that_differ(cli, tmp_path):
    """Another server version is told on stderr; other work and another SLO are refused by their key."""
    words = two_runs(tmp_path)
    assert cli(*words, "--json").err == ""
    path = tmp_path / "b" / "manifest.json"
    manifest = json.loads(path.read_text())

    def changed(**keys):
        path.write_text(json.dumps(manifest | keys))
        return cli(*words, "--json")

    assert "9.9" in changed(server_probe={"profile": "vllm", "server": {"version": "9.9"}}).err
    refused = changed(workload={"name": "w", "requests": 16, "content_hash": "other"})
    assert (refused.code, refused.error.where) == (2, "workload")
    refused = changed(spec=manifest["spec"] | {"slo": "output_throughput_per_user>20"})
    assert (refused.code, refused.error.where) == (2, "slo")
    assert cli(*words, "--slo output_throughput_per_user>20").code == 0
