"""One verdict on every surface: what one says no other says otherwise, and the exit codes say it too."""

from __future__ import annotations

import csv
import io
import re
from array import array
from pathlib import Path
from typing import Any

import pytest
from factory import run_folder

import benchsuite
from benchsuite.cli.options import exit_code
from benchsuite.economics.matrix_decision import JudgedSetting, decide_settings
from benchsuite.metrics import level_row
from benchsuite.report.export import as_csv, as_markdown, decision_json, summary_json
from benchsuite.report.format import headline
from benchsuite.report.gate import gate
from benchsuite.report.judge import Judgement, judge_run
from benchsuite.report.matrix import rows
from benchsuite.report.sections_cost import scaling_of
from benchsuite.report.sections_run import answer
from benchsuite.report.terminal import VERDICT_STYLES
from benchsuite.store.run_folder import read_run

GATE = {"met": "pass", "not met": "fail", "undecided": "inconclusive", "unknown": "inconclusive"}


def _empty_above_2(row: Any) -> Any:
    """Every second answer is empty, and cheap, at all levels but 2."""
    if row.concurrency == 2 or int("".join(filter(str.isdigit, row.request_id[-3:]))) % 2:
        return row
    gone = dict.fromkeys(("first_token_s", "first_answer_s", "last_token_s"))
    return row._replace(**gone, output_tokens=0, n_chunks=0, chunk_gap_us=array("i"))


# name -> how the run is made, its SLO, the verdicts of its levels 2, 4 and 8, the level that is named, the exit code
CASES: dict[str, tuple[dict[str, Any], str, list[str], int, int]] = {
    "repeats": ({"repeats": 3, "noise": 0.02}, "output_throughput_per_user>30", ["met", "met", "not met"], 4, 0),
    "no_level": ({"repeats": 3, "noise": 0.02}, "output_throughput_per_user>500", ["not met"] * 3, 2, 3),
    "one_run": ({}, "output_throughput_per_user>40", ["met", "undecided", "not met"], 4, 6),
    "percentile": ({}, "ttft_p95<500ms", ["undecided"] * 3, 8, 6),
    "failures": ({"faults": {"timeout": 6}}, "output_throughput_per_user>5", ["not met"] * 3, 8, 3),
    "empty": ({"row": _empty_above_2, "repeats": 4}, "ttft_mean<1s", ["met", *["not met"] * 2], 2, 0),
    "unknown": ({"row": lambda row: row._replace(output_tokens=None)}, "throughput>1", ["unknown"] * 3, 8, 6),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: Any) -> tuple[Judgement, list[str], int, int, Path]:
    made, slo, verdicts, named, code = CASES[request.param]
    path = run_folder(tmp_path_factory.mktemp("case") / "run", slo=slo, requests=24, **made)
    return judge_run(read_run(path)), verdicts, named, code, path


def test_every_surface_says_the_same(case):
    """Levels by table, CSV, JSON, Markdown, gate, scaling, API and matrix; the decision by sentence, page, colour."""
    judgement, verdicts, named, code, path = case
    decision = judgement.decision
    assert [one.slo_verdict for one in judgement.judged] == verdicts
    assert [row["slo_verdict"] for row in csv.DictReader(io.StringIO(as_csv([judgement])))] == verdicts
    assert [point["slo_verdict"] for point in summary_json(judgement)["points"]] == verdicts
    assert [level_row(one)["slo_verdict"] for one in judgement.judged] == verdicts
    assert benchsuite.summarise(path)["slo_verdict"].tolist() == verdicts
    table = [line for line in as_markdown([judgement]).splitlines() if line.startswith("|")][2:]
    assert [line.rstrip("| ").rpartition("|")[2].strip() for line in table] == verdicts
    levels = [] if verdicts == ["unknown"] * 3 else verdicts  # without tokens there is nothing that could scale
    assert [one.slo_verdict for one in scaling_of(judgement).levels] == levels
    found = gate(judgement)
    for level, verdict in zip(judgement.judged, verdicts, strict=True):
        of_level = {c.verdict for c in found.criteria if c.level.users == level.point.level.users}
        assert next((v for v in ("fail", "inconclusive") if v in of_level), "pass") == GATE[verdict]

    plain = decision_json(decision)
    assert (plain["optimum"] or plain["no_feasible"])["verdict"] == decision.verdict
    assert exit_code([decision.verdict]) == code
    said = headline(decision, judgement.judged)
    page = answer(judgement).sentence
    styles = {"met": "bold green", "not met": "bold red", "undecided": "bold yellow"}
    assert VERDICT_STYLES[decision.verdict] == styles[decision.verdict]
    begins = {
        ("optimum", "met"): ("optimum ", "Concurrency "),
        ("optimum", "undecided"): ("", "Concurrency "),
        ("none", "not met"): ("no level meets the SLO; nearest: ", "No level meets the SLO; nearest: "),
        ("none", "undecided"): (
            "no level appears to meet the SLO; nearest: ",
            "No level appears to meet the SLO; nearest: ",
        ),
    }
    of_terminal, of_page = begins[decision.kind, decision.verdict]
    assert said.startswith(f"{of_terminal}{named} ")
    assert re.match(rf"{of_page}{named}\b", page)
    assert (f"SLO {decision.verdict}" in page) == (decision.kind == "optimum")
    settings = decide_settings([JudgedSetting("a", 1, judgement)])
    (row,) = rows(settings)
    by_level = dict(zip((2, 4, 8), verdicts, strict=True))
    assert (settings.verdict, row["concurrency"], row["slo_verdict"]) == (decision.verdict, named, by_level[named])


@pytest.mark.parametrize("verb", ["decide", "decide_json"])
def test_exit_codes(cli, case, verb):
    """0 proven, 6 undecided, 3 no level: the same from the command line, whose JSON carries the sentence."""
    judgement, _, _, code, path = case
    result = cli("decide", str(path), *["--json"] * (verb == "decide_json"))
    assert result.code == code
    if verb == "decide_json":
        (row,) = result.data
        assert (row["verdict"], row["sentence"]) == (
            judgement.decision.verdict, headline(judgement.decision, judgement.judged),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["met"], 0), (["met", "not met"], 0), (["undecided"], 6), (["unknown"], 6), (["undecided", "not met"], 6),
        (["not met"], 3), (["not met", "not met"], 3),
    ],
)  # fmt: skip
def test_the_table_of_exit_codes(verdicts, code):
    """Of several runs one that is proven is enough for 0; 3 only where all are proven to miss."""
    assert exit_code(verdicts) == code


def test_the_named_level_is_one_everywhere(tmp_path, cli):
    """8 looks 2 % cheaper and is undecided, 4 is proven: every surface names 4, at its cost."""
    latency = {2: (0.1, 0.02), 4: (0.1, 0.03), 8: (0.1, 0.0605)}
    path = run_folder(
        tmp_path / "run", slo="output_throughput_per_user>14", latency=latency, requests=64, tokens=50
    )  # fmt: skip
    judgement = judge_run(read_run(path))
    decision = judgement.decision
    assert [one.slo_verdict for one in judgement.judged] == ["met", "met", "undecided"]
    assert (decision.choice.point.level.users, decision.recommended.point.level.users) == (8, 4)
    assert decision.runner_up.point.level.users == 8
    named = judgement.judged[1]
    assert headline(decision, judgement.judged).startswith("4 ")
    assert answer(judgement).sentence.startswith("Concurrency 4")
    found = decision_json(decision)["optimum"]
    assert (found["concurrency"], found["cheapest_concurrency"]) == (4, 8)
    assert found["cost_usd"] == named.cost.cost_usd
    (row,) = cli("decide", str(path), "--json").data
    assert (row["optimum_concurrency"], row["cost_usd"]) == (4, named.cost.cost_usd)
    settings = decide_settings([JudgedSetting("a", 1, judgement)])
    assert rows(settings)[0]["concurrency"] == 4
    assert benchsuite.find_optimum(path).recommended.point.level.users == 4


def test_a_cheaper_level_that_is_not_sure_is_not_said_to_cost_more(tmp_path):
    """Runs differ by more than 2 and 4 do: 2 is named, and sentence, reason, page and warnings are of it."""
    latency = {2: (0.05, 0.010), 4: (0.098, 0.0198), 8: (0.21, 0.0395)}
    path = run_folder(
        tmp_path / "run", latency=latency, repeats=3, requests=60, noise=0.1, seed=1, slo="ttft_mean<0.22s"
    )  # fmt: skip
    judgement = judge_run(read_run(path))
    decision, two, four = judgement.decision, judgement.judged[0], judgement.judged[1]
    assert (decision.recommended, decision.choice) == (two, four)
    assert four.cost.cost_usd < two.cost.cost_usd
    said = headline(decision, judgement.judged)
    assert "costs more" not in said
    assert "next level 4 looks cheaper" in said
    assert decision.reason.startswith("2 is ")
    assert decision.binding == "no limit: 4 looks cheaper, but this is not certain"
    (limited,) = [tile for tile in answer(judgement).tiles if tile.label == "Limited by"]
    assert limited.value == "certainty"
