"""From a run to its judgement: only what was measured whole, and all that was paid for, is judged."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_line import CommandLine
from factory import find_folder, run_folder

from benchsuite.analysis import summary
from benchsuite.level import Level
from benchsuite.report import page
from benchsuite.report.export import summary_json
from benchsuite.report.judge import judge_run
from benchsuite.store import run_folder as folders
from benchsuite.store.run_folder import read_run

OWN, API, OTHER = "http://127.0.0.1:1", "https://api", "http://127.0.0.1:2"
SLO = "ttft_mean<1s,output_throughput_per_user>20"  # all three levels meet it, and 8 is the shortest
PRICED = {"base_url": API, "model": "paid", "usd_per_1m_input": 2.0, "usd_per_1m_output": 10.0}


def test_failed_rows_and_given_up_attempts_say_nothing_of_the_clock(tmp_path):
    """A row without an answer, or of an attempt that was given up, does not make the client's verdict stricter."""
    run = read_run(run_folder(tmp_path / "run"))
    whole = judge_run(run).clients
    last = run.table.slice(run.table.num_rows - 1).to_pylist()[0]
    refused = last | {"request_id": "x", "status": "connect_error", "stamp_source": "user", "first_token_s": None}
    given_up = last | {"request_id": "y", "attempt": 7, "stamp_source": "user"}
    table = pa.concat_tables([run.table, pa.Table.from_pylist([refused, given_up], schema=run.table.schema)])
    assert judge_run(dataclasses.replace(run, table=table)).clients == whole
    assert [level.users for level in sorted(whole)] == [2, 4, 8]


def test_a_journal_that_was_put_aside_is_a_warning(tmp_path):
    """What a damaged journal lost is on every surface, not only where it was recovered."""
    path = run_folder(tmp_path / "run")
    (path / "gpu.s0.samples.torn").write_bytes(b"")
    codes = [found.code for found in judge_run(read_run(path)).judged[-1].point.warnings]
    assert "damaged_files" in codes


def test_intervals_in_the_summary(tmp_path):
    """Three equal repeats leave no doubt; the keys that programs read."""
    summary = summary_json(judge_run(read_run(run_folder(tmp_path / "run", repeats=3))))
    assert summary["optimum"]["p_opt"] == 1.0
    assert summary["optimum"]["p_by_level"] == {"2": 0.0, "4": 1.0, "8": 0.0}
    point = summary["points"][1]
    assert (point["slo_verdict"], point["p_met"]) == ("met", 1.0)
    wall = point["intervals"]["duration_s"]
    assert (list(wall), wall["value"], wall["n"]) == (["value", "low", "high", "n", "method"], point["duration_s"], 3)
    assert wall["low"] == pytest.approx(wall["high"])
    assert point["intervals"]["cost_usd"]["value"] == point["cost_usd"]


def run_with(folder, urls, fallback=None, **api_row):
    """A run whose requests at level 8 went to `urls` in turn, and all others to the first."""

    def answered(row):
        url = urls[int(row.request_id[1:]) % len(urls)] if row.concurrency == 8 else urls[0]
        return row._replace(endpoint=url, **(api_row if url == API else {}))

    roles = [{"base_url": url, "role": "fallback" if url == API else "own"} for url in urls]
    spec, manifest = {"server": {"fallback": fallback}}, {"endpoints": roles}
    client = {"fallback_tries": 3}
    return read_run(run_folder(folder, slo=SLO, row=answered, client=client, spec=spec, manifest=manifest))


def codes(judgement, level):
    return {warn.code for one in judgement.judged if one.point.level.users == level for warn in one.point.warnings}


def test_the_apis_bill_decides(tmp_path):
    """Half of level 8 goes to the API: 0.88 s of $3.60 an hour and $0.00096 of bill, so level 4 is the cheapest."""
    alone = judge_run(run_with(tmp_path / "a", [OWN]))
    assert alone.decision.choice.point.level.users == 8
    judgement = judge_run(run_with(tmp_path / "b", [OWN, API], PRICED))
    assert judgement.decision.choice.point.level.users == 4
    at8 = judgement.judged[2].cost
    assert at8.cost_usd == pytest.approx(0.00088 + 0.00096)
    assert at8.usd_per_1m_output_tokens == pytest.approx(0.00184 / 176 * 1e6)
    assert judgement.judged[1].cost.cost_usd == pytest.approx(0.00096)  # 0.96 s, nothing billed
    assert judgement.usd_per_hour == 3.6
    assert ["fallback_used" in codes(judgement, level) for level in (4, 8)] == [False, True]


def test_who_answered_is_in_the_summary(tmp_path):
    """Each level's endpoints and its fallback; null where there is none."""
    points = summary_json(judge_run(run_with(tmp_path / "a", [OWN, API], PRICED)))["points"]
    assert [(p["endpoint"], p["role"], p["requests"]) for p in points[2]["endpoints"]] == [
        (OWN, "own", 8),
        (API, "fallback", 8),
    ]
    fallback = points[2]["fallback"]
    assert (fallback["request_share"], fallback["tries"], fallback["skips"]) == (0.5, 3, None)
    assert fallback["api_usd"] == pytest.approx(0.00096)
    assert points[0]["fallback"]["api_requests"] == 0
    alone = summary_json(judge_run(run_with(tmp_path / "b", [OWN])))["points"][0]
    assert (alone["fallback"], alone["imbalance"], len(alone["endpoints"])) == (None, None, 1)
    unnamed = run_folder(tmp_path / "c", row=lambda row: row._replace(endpoint=None))
    older = summary_json(judge_run(read_run(unnamed)))
    assert (older["points"][0]["fallback"], older["points"][0]["endpoints"]) == (None, None)


def test_a_bill_that_is_not_known_leaves_no_cost(tmp_path):
    """Without the API's prices no level has a cost, rather than one that leaves the bill out."""
    judgement = judge_run(run_with(tmp_path / "a", [OWN, API], {"base_url": API, "model": "paid"}))
    assert [one.cost.cost_usd for one in judgement.judged] == [None] * 3
    assert judgement.hour_price is None
    assert "fallback_price_unknown" in codes(judgement, 8)
    silent = judge_run(run_with(tmp_path / "b", [OWN, API], PRICED, output_tokens=None))
    assert silent.hour_price is None
    assert "fallback_usage_unknown" in codes(silent, 8)


def test_two_servers_and_one_gpu(tmp_path):
    """A price for one GPU and two servers that answered do not go together; one server alone is out of balance."""
    judgement = judge_run(run_with(tmp_path / "a", [OWN, OTHER]))
    assert "gpus_fewer_than_endpoints" in codes(judgement, 8)
    assert ["imbalance" in codes(judgement, level) for level in (2, 8)] == [True, False]


def test_a_sweep_is_judged_once(tmp_path: Path, cli: CommandLine, simulated: Any, monkeypatch: pytest.MonkeyPatch):
    """Terminal, summary.json and report.html are of one judgement: read once, and resampled once a level."""
    calls: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        function = getattr(module, name)

        def call(*args: Any, **more: Any) -> Any:
            calls[name] += 1
            return function(*args, **more)

        monkeypatch.setattr(module, name, call)

    for module, name in ((page, "judge_run"), (folders, "read_run"), (summary, "level_intervals")):
        counted(module, name)
    asked = f"--base-url {simulated.base_url} --concurrency 1,2 --repeats 2 --requests 4 --gpu off --slo ttft_mean<10s"
    cli("sweep", asked, "--output", tmp_path / "run")

    assert (tmp_path / "run" / "report.html").exists()
    assert calls == {"judge_run": 1, "read_run": 1, "level_intervals": 2}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return read_run(find_folder(tmp_path_factory.mktemp("found") / "run"))


def test_a_search_says_which_level_and_how_sure_each_is(found):
    """The decision is the stored answer; each level is met, missed or open by its P(met), though most had one probe;
    nothing is said against a healthy search."""
    judged = judge_run(found)
    decision = judged.decision
    assert (decision.recommended.point.level, decision.p_good, decision.verdict) == (Level(10), 0.973, "met")
    assert [one.slo_verdict for one in judged.judged] == ["met", "met", "undecided", "not met"]
    assert [one.p_met for one in judged.judged] == [1.0, 0.998, 0.31, 0.0]
    assert [one.code for level in judged.judged for one in level.point.warnings] == []


def test_by_another_slo_a_search_has_no_answer(found):
    """Its probes are judged as any run's are, and compared by the cost of a token, not of probes of any length."""
    decision = judge_run(found, slo="decode_throughput>30").decision
    assert decision.p_good is None
    assert decision.recommended.point.level == Level(12)


def test_short_probes_are_no_repeats_of_confirming_ones(found):
    """The level 10 was closed in on by one of 60 requests, and confirmed by two of 160."""
    level = next(one for one in judge_run(found).judged if one.point.level == Level(10))
    assert level.point.repeat_count == 2
    assert set(found.whole["point_id"].to_pylist()) == {
        "f01-c0008-r0", "f02-c0016-r0", "f04-c0012-r0", "f05-c0010-r1", "f06-c0010-r2"
    }  # fmt: skip
    assert level.cost.usd_per_1m_output_tokens == pytest.approx(3.6 / 3600 / level.point.output_tok_s * 1e6)


def test_a_search_that_failed_at_one_probe_is_not_cut_short(found):
    """It went on without it; one that has no end is cut short."""
    planned = [*found.manifest.planned_points, "f07-c0010-r3"]
    whole = dataclasses.replace(found, manifest=found.manifest.replaced(planned_points=planned))
    open_ = found.manifest.replaced(planned_points=planned, search={})
    codes = [
        {one.code for level in judge_run(run).judged for one in level.point.warnings}
        for run in (whole, dataclasses.replace(found, manifest=open_))
    ]
    assert ["run_cut_short" in one for one in codes] == [False, True]


@pytest.mark.parametrize("name", ["c0043-r0", "f03-c0043-r0", "f123-c0043-r11"])
def test_a_probes_name_has_its_level(name: str):
    """Its place in the search goes before the level, and is no part of it."""
    assert Level.of_point(name) == Level(43)
    assert Level.of_point(f"f-{name}") is None
