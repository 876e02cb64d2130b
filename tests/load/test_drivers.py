"""The cross-check drivers give the rows that the wire client gives, up to their stamps."""

import json
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from sweeps_for_tests import Watcher

from benchsuite.client.connection import Link
from benchsuite.client.http import Endpoint, Exchange
from benchsuite.client.reference_clients import HttpxDriver, httpx_client
from benchsuite.client.request import BodyPlan, PointContext
from benchsuite.load.schedule import plan_points
from benchsuite.load.sweep import sweep
from benchsuite.load.virtual_users import Preflight
from benchsuite.load.worker import PointOrder, Worker
from benchsuite.servers import SERVERS
from benchsuite.simulator.config import Fault, ResponseShape, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.spec import LoadSpec, parse_spec
from benchsuite.store.run_folder import read_run
from benchsuite.workload.dataset import Prompt, make_workload

PROMPTS = make_workload(
    "drivers", tuple(Prompt(f"p{i}", "s", ({"role": "user", "content": f"q {i}"},), None, 5) for i in range(24))
)
SHAPE = ResponseShape(reasoning_tokens=2)
SAME = ("prompt_id", "status", "output_tokens", "input_tokens", "n_chunks", "finish_reason", "reasoning_tokens")


def rows(config: SimulatorConfig, driver: str, folder: Path, **load: object) -> list[dict[str, object]]:
    with simulator(config) as server:
        tree = {
            "server": {"base_url": server.base_url, "profile": "vllm"},
            "load": {"concurrency": [6], "warmup_requests": 0, "driver": driver, **load},
        }
        sweep(parse_spec(tree, where="test"), PROMPTS, folder, Watcher())
    return sorted(read_run(folder).table.to_pylist(), key=lambda row: str(row["prompt_id"]))


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """The rows of the measuring client, of a server that never fails."""
    return rows(SimulatorConfig(response=SHAPE), "wire", tmp_path_factory.mktemp("wire") / "run")


@pytest.mark.parametrize("driver", ["httpx", pytest.param("httpx-shared", marks=pytest.mark.slow), "openai"])
def test_same_rows_as_the_wire(driver: str, tmp_path: Path, wire: list[dict[str, object]]) -> None:
    """Tokens, chunks, usage and ends are the same; the stamps are made in user space and say so.

    A 503 is an http_error, whatever the library raises for it; nothing is sent twice.
    """
    config = SimulatorConfig(response=SHAPE, faults=(Fault(kind="http_503", probability=0.3),), seed=1)
    found = rows(config, driver, tmp_path / "run")
    expected = {row["prompt_id"]: [row[key] for key in SAME] for row in wire}
    good = [row for row in found if row["status"] == "ok"]

    assert len(found) == 24
    assert {row["status"] for row in found} == {"ok", "http_error"}
    assert all([row[key] for key in SAME] == expected[row["prompt_id"]] for row in good)
    assert {(row["stamp_source"], row["read_lag_max_us"]) for row in good} == {("user", None)}
    assert all("503" in str(row["error"]) for row in found if row["status"] == "http_error")


def test_a_rate_cap_holds(tmp_path: Path) -> None:
    """--max-request-rate 100: no two sends are closer than 10 ms, less the clock's own grain, in any driver's loop."""
    sends = sorted(
        float(str(row["sent_s"])) for row in rows(SimulatorConfig(), "wire", tmp_path / "a", max_request_rate=100.0)
    )

    assert min(b - a for a, b in pairwise(sends)) > 0.009


async def test_given_up_before_it_began() -> None:
    """An exchange that is given up before its task ran a line ends all the same, once, as what it was given up for."""
    import asyncio
    import socket

    loop = asyncio.get_running_loop()
    link = Link(loop, Endpoint(socket.AF_INET, ("127.0.0.1", 9), "127.0.0.1"), 1.0)
    driver = HttpxDriver(link, httpx_client(link))
    ended: list[Exchange] = []
    exchange = Exchange(0, 1)
    exchange.on_done = ended.append
    driver.send(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n{}", exchange)

    assert driver.overdue(10**18, 1, 1) is None
    driver.abort("timeout", "too long")
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert ended == [exchange]
    assert exchange.error is not None
    assert (exchange.error.status, exchange.error.message) == ("timeout", "too long")


def test_what_a_measuring_process_imports() -> None:
    """What the parent sends brings the client, numpy and pyarrow along, not what makes its start slow."""
    plan = BodyPlan(SERVERS["vllm"], "m", "chat", True, True, None, "off", "")
    found = Preflight(plan, (Endpoint(2, ("127.0.0.1", 1), "h"),), False, False, {})
    context = PointContext("run", "", None, 0, 0, 0, True, False)
    worker = Worker(found, (), None, context, "wire", 1, 1.0, (1, 1, 1), None, frozenset(), None, False)  # type: ignore[arg-type]
    order = PointOrder(plan_points(LoadSpec(concurrency=[1]), 3, "run")[0], 1, 0, None)
    script = "import json, pickle, sys; pickle.load(sys.stdin.buffer); print(json.dumps(list(sys.modules)))"
    sent = pickle.dumps((worker, order))
    ended = subprocess.run([sys.executable, "-c", script], input=sent, stdout=subprocess.PIPE, check=True)
    loaded = set(json.loads(ended.stdout))
    assert {"benchsuite.load.worker", "benchsuite.client.connection", "benchsuite.store.journal"} <= loaded
    assert not loaded & {
        "pydantic",
        "httpx",
        "rich",
        "click",
        "pandas",
        "scipy",
        "benchsuite.spec",
        "prometheus_client",
    }
