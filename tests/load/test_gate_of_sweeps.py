"""The gate on sweeps of a server whose truth is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps_for_tests import prompts, run, spec_of

from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator


def swept(path: Path, factor: float) -> Path:
    """16 requests of 8 tokens by 8 users: TTFT 50 ms and TPOT 5 ms, times `factor`."""
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.05 * factor, itl_s=0.005 * factor))) as server:
        run(spec_of(server.base_url, [8], price={"usd_per_hour": 2.0}), prompts(16, 8), path)
    return path


@pytest.mark.realtime
def test_a_server_three_times_slower_fails_even_with_one_run_each(cli, in_stored: Path, tmp_path: Path) -> None:
    """Two servers, two sweeps: nothing is refused, the slower fails by what it is slower, the faster passes."""
    base, slow = swept(tmp_path / "base", 1.0), swept(tmp_path / "slow", 3.0)
    flags = "--max-regression ttft=5%,cost=5% --allow client"  # a busy machine's client may be late

    found = cli.data("gate", slow, "--baseline", base, flags, code=5)

    ttft, cost = (one for one in found["criteria"] if one["kind"] == "regression")
    assert [ttft["verdict"], cost["verdict"]] == ["fail", "fail"]
    assert ttft["value"] > 0.15 > ttft["baseline"] > 0.05
    assert cli("gate", base, "--baseline", slow, flags).code == 0
