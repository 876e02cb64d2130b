"""Who answered, in the judgement of a run: the fallback's bill counts, and people see it."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console
from runs_for_tests import make_run

from benchsuite.report.judge import Judgement, balance_lines, judge_run, print_balance
from benchsuite.store.run_folder import Run, read_run

OWN, API = "http://127.0.0.1:1", "https://api"
SLO = "ttft_mean<1s,throughput>20"  # all three levels meet it, and 8 is the shortest
PRICED = {"base_url": API, "model": "paid", "usd_per_1m_input": 2.0, "usd_per_1m_output": 10.0}


def run_with(folder: Path, urls: list[str], fallback: dict[str, Any] | None = None) -> Run:
    """A run whose requests at level 8 went to `urls` in turn, and all others to the first."""
    run = read_run(make_run(folder, slo=SLO))
    levels = run.table["concurrency"].to_pylist()
    names = pa.array([urls[i % len(urls)] if level == 8 else urls[0] for i, level in enumerate(levels)], pa.string())
    table = run.table.set_column(run.table.column_names.index("endpoint"), "endpoint", names)
    roles = [{"base_url": url, "role": "fallback" if url == API else "own"} for url in urls]
    spec = run.manifest["spec"] | {"server": run.manifest["spec"]["server"] | {"fallback": fallback}}
    points = [
        point | {"concurrency": int(point["point_id"][1:5]), "client": {**point["client"], "fallback_tries": 3}}
        for point in run.manifest["points"]
    ]
    manifest = run.manifest.replaced(endpoints=roles, spec=spec, points=points)
    return dataclasses.replace(run, table=table, manifest=manifest)


def shown(judgement: Judgement) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    assert judgement.balance is not None
    print_balance("m", judgement.balance, console)
    return console.export_text()


def codes(judgement: Judgement, level: int) -> set[str]:
    return {warn.code for one in judgement.judged if one.point.concurrency == level for warn in one.point.warnings}


def test_the_apis_bill_decides(tmp_path):
    """Half of level 8 goes to the API: 0.88 s of $3.60 an hour and $0.00096 of bill, so level 4 is the cheapest."""
    alone = judge_run(run_with(tmp_path / "a", [OWN]))
    assert alone.decision.choice.point.concurrency == 8
    judgement = judge_run(run_with(tmp_path / "b", [OWN, API], PRICED))
    assert judgement.decision.choice.point.concurrency == 4
    at8 = judgement.judged[2].cost
    assert at8.cost_usd == pytest.approx(0.00088 + 0.00096)
    assert at8.usd_per_1m_output_tokens == pytest.approx(0.00184 / 176 * 1e6)
    assert judgement.judged[1].cost.cost_usd == pytest.approx(0.00096)  # 0.96 s, nothing billed
    assert (judgement.usd_per_hour, "fallback_used" in codes(judgement, 8)) == (3.6, True)
    assert "fallback_used" not in codes(judgement, 4)


def test_in_the_summary(tmp_path):
    """summary.json has each level's endpoints and its fallback."""
    points = judge_run(run_with(tmp_path / "a", [OWN, API], PRICED)).summary()["points"]
    assert [(p["endpoint"], p["role"], p["requests"]) for p in points[2]["endpoints"]] == [
        (OWN, "own", 8),
        (API, "fallback", 8),
    ]
    fallback = points[2]["fallback"]
    assert (fallback["request_share"], fallback["tries"], fallback["skips"]) == (0.5, 3, None)
    assert fallback["api_usd"] == pytest.approx(0.00096)
    assert points[0]["fallback"]["api_requests"] == 0
    alone = judge_run(run_with(tmp_path / "b", [OWN])).summary()["points"][0]
    assert (alone["fallback"], alone["imbalance"], len(alone["endpoints"])) == (None, None, 1)
    older = judge_run(read_run(make_run(tmp_path / "c"))).summary()["points"][0]
    assert (older["fallback"], older["endpoints"]) == (None, None)


def test_a_bill_that_is_not_known_leaves_no_cost(tmp_path):
    """Without the API's prices no level has a cost, rather than one that leaves the bill out."""
    judgement = judge_run(run_with(tmp_path / "a", [OWN, API], {"base_url": API, "model": "paid"}))
    assert [one.cost.cost_usd for one in judgement.judged] == [None] * 3
    assert judgement.usd_per_hour_total is None
    assert "fallback_bill_unknown" in codes(judgement, 8)


def test_two_servers_and_one_gpu(tmp_path):
    """A price for one GPU and two servers that answered do not go together."""
    judgement = judge_run(run_with(tmp_path / "a", [OWN, "http://127.0.0.1:2"]))
    assert "gpus_fewer_than_endpoints" in codes(judgement, 8)
    assert "imbalance" in codes(judgement, 2)  # the second server got nothing there
    assert "imbalance" not in codes(judgement, 8)


def test_for_people(tmp_path):
    """The table fits a terminal of 80 columns; one URL says that a balancer behind it is not visible."""
    judgement = judge_run(run_with(tmp_path / "a", [OWN, API], PRICED))
    text = shown(judgement)
    assert "    8  API api             8  50.0 %       0      88   140  30.0  50.0 %" in text
    assert "which server answered is not\n  visible here" in text
    assert "    8      3      –    50.0 %    50.0 %  0.000960  0.000880      10.5      10.0" in text
    assert balance_lines(judgement.balance) == [
        "8 users: the API took 50.0 % of requests, 50.0 % of output tokens; "
        "$0.000960 beside $0.000880 of own hours, $10.45 per 1M output together"
    ]
    two = judge_run(run_with(tmp_path / "b", [OWN, "http://127.0.0.1:2"]))
    assert "2 users: imbalance 2.00 (1 is even)" in shown(two)
    assert balance_lines(two.balance) == [
        "2 servers; the busiest got at most 2.00 times the mean of requests (2 users)"
    ]
