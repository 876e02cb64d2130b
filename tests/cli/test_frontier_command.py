"""`benchsuite frontier` from the outside: the paper's tables, run folders, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchsuite.cli.frontier import command
from benchsuite.errors import BenchsuiteError

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from runs_for_tests import make_run

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TABLE4, SCORES = str(EXAMPLES / "paper_table4.csv"), str(EXAMPLES / "paper_scores.csv")
PAPER = ("--points", TABLE4, "--scores", SCORES, "--slo", "ttft_mean<1s,throughput>20", "--usd-per-hour", "1.58")


def run(*flags: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(command, flags, catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout, done.stderr


def placed(*flags: str) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in json.loads(run(*flags, "--json")[1])}


def test_the_papers_frontier():
    """gpt-oss, Mistral, Qwen3 and WiNGPT-3.5 at the costs of Table 2; the other five are dominated."""
    found = placed(*PAPER)
    assert len(found) == 9
    on = {model: round(row["cost_usd"], 2) for model, row in found.items() if row["on_frontier"]}
    assert on == {"gpt-oss-20b-low": 0.11, "Mistral-Small": 0.25, "Qwen3-30B": 0.27, "WiNGPT-3.5": 0.34}
    assert found["Seed-OSS-36B"]["dominated_by"] == ["WiNGPT-3.5"]
    assert all(row["dominated_by"] for row in found.values() if not row["on_frontier"])
    assert (found["Qwen3-30B"]["score"], found["Qwen3-30B"]["params_b"]) == (66.9, 30)
    assert {row["p_on_frontier"] for row in found.values()} == {None}


def test_table_for_people():
    """The models, and why there is no probability."""
    code, text, _ = run(*PAPER)
    assert code == 0
    assert "WiNGPT-3.5" in text
    assert "no P: one run per level and no n of the score" in text


def test_a_picture_and_what_is_said_against_a_level(tmp_path):
    """--svg writes the bubbles; Qwen3's optimum hangs on less than 1 %."""
    picture = tmp_path / "frontier.svg"
    found = placed(*PAPER, "--svg", str(picture))
    assert picture.read_text("utf-8").startswith("<svg")
    assert any(text.startswith("fragile_optimum") for text in found["Qwen3-30B"]["warnings"])
    assert found["Mistral-Small"]["warnings"] == []


def test_a_price_file(tmp_path):
    """A price of one's own by name, with its source and date among the assumptions."""
    prices = tmp_path / "p.toml"
    prices.write_text('[presets.mine]\nusd_per_hour = 1.58\nsource = "a quote"\nas_of = "2026-11-01"\nnote = "n"\n')
    flags = (*PAPER[:4], "--preset", "mine", "--prices", str(prices))
    assert placed(*flags)["Mistral-Small"]["cost_usd"] == pytest.approx(0.2454, abs=1e-4)
    assert "mine: a quote, 2026-11-01" in " ".join(run(*flags)[1].split())
    with pytest.raises(BenchsuiteError, match="a price file without a name"):
        run(*PAPER, "--prices", str(prices))


def test_nobody_is_dropped(tmp_path):
    """Unscored, unmeasured and infeasible models are listed with a reason."""
    scores = tmp_path / "s.csv"
    scores.write_text("model,score,n\nQwen3-30B,66.9,500\nWiNGPT-3.0,69.6,500\nelsewhere,99,500\n")
    found = placed("--points", TABLE4, "--scores", str(scores), "--slo", "throughput>35", "--usd-per-hour", "1.58")
    assert found["Qwen3-30B"]["on_frontier"] is True
    assert 0 < found["Qwen3-30B"]["p_on_frontier"] <= 1
    assert found["Qwen3-30B"]["usd_per_1m_correct_answers"] > 0
    assert found["elsewhere"]["reason"] == "it has a score but was not measured"
    assert found["gpt-oss-20b-low"]["reason"] == "it has no score"
    assert found["WiNGPT-2.7"]["reason"].startswith("no level meets the SLO")
    assert len(found) == 10


def test_no_model_meets_the_slo():
    """Exit code 3, everyone with a reason."""
    code, text, _ = run(
        "--points", TABLE4, "--scores", SCORES, "--slo", "throughput>500", "--usd-per-hour", "1", "--json"
    )
    assert code == 3
    assert all(row["reason"] and row["cost_usd"] is None for row in json.loads(text))


def write_scores(tmp_path: Path, text: str) -> str:
    path = tmp_path / "s.csv"
    path.write_text(text)
    return str(path)


def test_run_folders_with_repeats(tmp_path):
    """Repeats give the cost an interval, here of no width: both runs took 0.96 s at $3.60 an hour."""
    runs = [str(make_run(tmp_path / name, model=name, repeats=2)) for name in ("a", "b")]
    found = placed(*runs, "--scores", write_scores(tmp_path, "model,score,n\na,60,100\nb,70,100\n"))
    assert found["a"]["cost_usd"] == pytest.approx(0.96e-3)
    assert found["a"]["cost_low_usd"] == pytest.approx(found["a"]["cost_high_usd"])
    assert (found["b"]["on_frontier"], found["a"]["dominated_by"]) == (True, ["b"])
    assert found["a"]["p_on_frontier"] == pytest.approx(0.07, abs=0.02)  # z = -10 / sqrt(24 + 21)
    assert found["b"]["held_fixed"] == []


def test_runs_that_differ(tmp_path):
    """Another server version is told on stderr; other work and another SLO are refused by their key."""
    first, second = make_run(tmp_path / "a", model="a"), make_run(tmp_path / "b", model="b")
    flags = (str(first), str(second), "--scores", write_scores(tmp_path, "model,score\na,60\nb,70\n"))
    assert run(*flags, "--json")[2] == ""

    def change(**changes: Any) -> None:
        path = second / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    change(preflight={"profile": "vllm", "server": {"version": "9.9"}})
    assert "the runs differ in server version: 0.0" in run(*flags, "--json")[2]
    change(workload={"name": "w", "requests": 16, "content_hash": "other"})
    with pytest.raises(BenchsuiteError, match="different sets of requests") as caught:
        run(*flags)
    assert (caught.value.where, caught.value.exit_code) == ("workload", 2)


def test_runs_of_different_slos(tmp_path):
    """Refused unless one is given for all."""
    runs = [
        str(make_run(tmp_path / m, model=m, slo=slo)) for m, slo in (("a", "throughput>30"), ("b", "throughput>20"))
    ]
    flags = (*runs, "--scores", write_scores(tmp_path, "model,score\na,60\nb,70\n"))
    with pytest.raises(BenchsuiteError, match="different SLOs") as caught:
        run(*flags)
    assert caught.value.where == "slo"
    assert run(*flags, "--slo", "throughput>20")[0] == 0


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--scores", SCORES), "nothing to start from"),
        (("--points", TABLE4, "--scores", SCORES), "a frontier needs a price"),
        (("--points", TABLE4, "--scores", "no-such.csv", "--usd-per-hour", "1"), "scores cannot be read"),
        (("--points", "no-such.csv", "--scores", SCORES, "--usd-per-hour", "1"), "points table cannot be read"),
        (("--points", TABLE4, "--scores", SCORES, "--usd-per-hour", "-1"), "a price makes no sense"),
        ((*PAPER, "--svg", "no-such-folder/f.svg"), "the picture cannot be written"),
        (("--points", TABLE4, "--scores", SCORES, "--usd-per-hour", "1", "--preset", "l4"), "two prices"),
        (("--points", TABLE4, "--scores", SCORES, "--usd-per-hour", "1", "--slo", "speed>2"), "unknown metric"),
    ],
)
def test_bad_input_exits_2(flags, what):
    """One refusal, with exit code 2."""
    with pytest.raises(BenchsuiteError, match=what) as caught:
        run(*flags)
    assert caught.value.exit_code == 2


def test_sets_of_different_sizes(tmp_path):
    """A run of 100 requests does not compare with one of 2,993."""
    points = tmp_path / "p.csv"
    points.write_text(
        "model,concurrency,requests,time_s,ttft_s,output_tokens\na,8,2993,100,.1,40000\nb,8,100,10,.1,4000\n"
    )
    with pytest.raises(BenchsuiteError, match="different sets of requests") as caught:
        run(
            "--points",
            str(points),
            "--scores",
            write_scores(tmp_path, "model,score\na,1\nb,2\n"),
            "--usd-per-hour",
            "1",
        )
    assert caught.value.where == "requests"
