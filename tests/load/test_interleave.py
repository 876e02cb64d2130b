"""Two arms in turn: the order, and whole sessions over the simulator through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchsuite.load.interleave import a_first
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.store.run_folder import read_run

FEW = "--requests 8 --max-output-tokens 4 --concurrency 2 --warmup-requests 1 --gpu off --usd-per-hour 1 --quiet"


def test_who_goes_first_is_balanced_and_seeded() -> None:
    """Of two rounds A goes first in one, at every place; seeds differ, and one seed is always the same."""
    orders = {seed: [[a_first(seed, n, place) for n in range(20)] for place in range(3)] for seed in range(5)}
    assert all(place[2 * i] != place[2 * i + 1] for order in orders.values() for place in order for i in range(10))
    assert len({str(order) for order in orders.values()}) == 5
    assert orders[0][0] == [a_first(0, n, 0) for n in range(20)]


@pytest.mark.usefixtures("in_stored")
def test_two_servers_are_measured_in_turn(cli, simulated, tmp_path: Path) -> None:
    """Three rounds in any case: two whole run folders with the same requests, and the same verdict now and again."""
    urls = f"--base-url {simulated.base_url} " * 2 + "--budget-min 0.001"
    ended = cli("ab", urls, FEW, "--output", tmp_path / "s", "--json")
    found = ended.data
    assert ended.code == {"pass": 0, "fail": 5, "inconclusive": 6}[found["verdict"]]
    runs = [read_run(tmp_path / "s" / name) for name in "AB"]
    assert [run.manifest.status for run in runs] == ["complete", "complete"]
    assert [set(run.manifest.planned_points) for run in runs] == [{"c0002-r0", "c0002-r1", "c0002-r2"}] * 2
    assert len({tuple(sorted(run.table["prompt_id"].to_pylist())) for run in runs}) == 1
    again = cli.data("ab", tmp_path / "s" / "A", tmp_path / "s" / "B", code=ended.code)
    assert again["rows"] == found["rows"]


@pytest.mark.usefixtures("in_stored")
def test_two_servers_that_differ(cli, simulated, tmp_path: Path) -> None:
    """B is 20 times slower a token: found in three rounds, of two repeats each at the one level."""
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.01, itl_s=0.1))) as slow:
        urls = f"--base-url {simulated.base_url} --base-url {slow.base_url} --budget-min 0.001"
        flags = f"{FEW} --repeats 2 --metrics e2e --allow client"
        found = cli.data("ab", urls, flags, "--output", tmp_path / "s", code=5)
    assert {row["verdict"] for row in found["rows"]} == {"slower"}
    assert (found["unit"], found["turns"]) == ("round", 3)
    assert all("3 against 3" in row["finding"] or "over 3 repeats" in row["finding"] for row in found["rows"])


@pytest.mark.usefixtures("in_stored")
def test_servers_that_are_started_are_restarted_each_round(cli, tmp_path: Path) -> None:
    """Three starts of two simulators, one 20 times slower: the restart is the unit, and each start has its log."""
    serve = ("--serve", "simulator --itl-s 0.005", "--serve", "simulator --itl-s 0.1")
    flags = "--restarts 3 --profile openai --metrics e2e --allow client"
    found = cli.data("ab", FEW, serve, flags, "--output", tmp_path / "s", code=5)
    assert {row["verdict"] for row in found["rows"]} == {"slower"}
    assert (found["unit"], found["turns"]) == ("restart", 3)
    logs = sorted(path.name for path in (tmp_path / "s" / "B").glob("serve*.log"))
    assert logs == ["serve-2.log", "serve-3.log", "serve.log"]
