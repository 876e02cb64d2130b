"""Killed open loops: every arrival that was due has a row or is said to be lost, and a resume measures each once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchsuite import fault_points
from benchsuite.input_files import read_workload
from benchsuite.load.schedule import plan_points, replayed
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.spec import parse_spec
from benchsuite.store.run_folder import Run, read_run
from tests.forked_simulator import simulator

FLAGS = [
    "--max-output-tokens", "1", "--gpu", "off", "--profile", "openai", "--model", "simulator", "--cooldown-min-s", "0",
    "--usd-per-hour", "1", "--tail", "drain", "--quiet",
]  # fmt: skip
RATE = ["--rate", "60", "--arrival", "constant", "--duration-s", "1", "--warmup-s", "0.4", "--requests", "16"]
LOADS = {
    "wait": RATE,
    "drop": [*RATE, "--max-in-flight", "4", "--over", "drop"],
    "replay": ["--replay", "--speed", "2", "--workload"],
}
# in the middle of the load, whatever the machine's speed; what the command then ends with
FAULTS = {
    "a measuring process": ("send@worker-{last}:{n}:kill", 1),
    "the conductor": ("send@worker-{last}:{n}:kill-parent", -signal.SIGKILL),
    "all processes": ("send@worker-{last}:{n}:kill-group", -signal.SIGKILL),
    "Ctrl-C": ("send@worker-{last}:{n}:signal=2", 1),
}
_OFTEN = {(1, "wait"), (4, "drop")}  # each with each fault; a trace with one of them
CASES = [
    pytest.param(
        fault, workers, load,
        marks=() if (workers, load) in _OFTEN or (fault, workers, load) == ("the conductor", 4, "replay")
        else pytest.mark.slow,
    )
    for fault in FAULTS for workers in (1, 4) for load in LOADS
]  # fmt: skip


@pytest.fixture(scope="module")
def url():
    """A server of 20 requests a second, a third of what is sent."""
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.05, slots=1))) as running:
        yield running.base_url


def command(url: str, folder: Path, workers: int, load: str, plan: str = "") -> subprocess.CompletedProcess[str]:
    """A sweep as a process group of its own, which follows a plan of faults."""
    words = ["sweep", "--base-url", url, *FLAGS, "--workers", str(workers), "--output", str(folder / "run")]
    words += LOADS[load]
    if load == "replay":
        lines = [{"id": f"p{i}", "prompt": f"question {i}", "at_s": i / 30} for i in range(60)]
        (folder / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        words.append(str(folder / "trace.jsonl"))
    return subprocess.run(
        [sys.executable, "-m", "benchsuite", *words], env=os.environ | {fault_points.VARIABLE: plan}, text=True,
        capture_output=True, start_new_session=True, timeout=300,
    )  # fmt: skip


def schedule(found: Run) -> np.ndarray:
    """When the arrivals of its only point are due, seconds from the window's start."""
    spec = parse_spec(found.manifest.spec, where="test")
    spec, workload, times_s = replayed(spec, read_workload(spec.workload, spec.load.random_seed))
    (plan,) = plan_points(spec.load, len(workload.prompts), found.manifest.run_id, spec.arrivals, times_s)
    return plan.offsets_ns / 1e9


def rows_of(found: Run, attempt: int) -> list[dict[str, Any]]:
    """In the order of the schedule; each with its place there."""
    names = ["attempt", "worker", "scheduled_s", "window_start_s", "status", "prompt_id"]
    due_s = schedule(found)
    rows = [row for row in found.table.select(names).to_pylist() if row["attempt"] == attempt]
    for row in rows:
        late_s = np.abs(due_s - (row["scheduled_s"] - row["window_start_s"]))
        row["place"] = int(np.argmin(late_s))
        assert late_s[row["place"]] < 1e-6
    return sorted(rows, key=lambda row: row["place"])


@pytest.mark.parametrize(("fault", "workers", "load"), CASES)
def test_a_killed_open_loop(fault: str, workers: int, load: str, url: str, tmp_path: Path) -> None:
    """Rows + lost = issued, said where somebody is left to say it; the point is not complete; resumed, it is whole."""
    (text, code), n = FAULTS[fault], 48 // workers
    victim = workers - 1
    cut = command(url, tmp_path, workers, load, plan=text.format(last=victim, n=n))
    assert (cut.returncode, "Traceback" in cut.stderr) == (code, False), cut.stderr
    again = command(url, tmp_path, workers, load)
    assert again.returncode in (0, 3, 6), again.stderr
    found = read_run(tmp_path / "run")
    first, second = found.manifest.points
    assert (first.status, second.status, second.attempt) == ("abandoned", "complete", 1)

    rows = rows_of(found, 0)
    there = {w: [row["place"] // workers for row in rows if row["place"] % workers == w] for w in range(workers)}
    assert all(row["worker"] == row["place"] % workers for row in rows)
    assert len({row["place"] for row in rows}) == len(rows)
    assert {row["status"] for row in rows} <= {"ok", "cancelled"} | ({"dropped"} if load == "drop" else set())
    if fault in ("a measuring process", "all processes"):
        assert set(there.pop(victim)) <= set(range(n - 1))  # the n-th was counted, and never sent
    else:
        assert len(there[victim]) >= n
    if fault != "all processes":  # who is not killed has a row for each that was due
        assert there == {worker: list(range(len(places))) for worker, places in there.items()}
    if fault == "a measuring process":
        issued, lost = first.client["n_issued"], first.client["n_lost"]
        assert issued == len(rows) + lost
        assert n - len([row for row in rows if row["worker"] == victim]) == lost
        assert f"{lost} of {issued} requests have no row" in cut.stderr
    if fault == "Ctrl-C":
        assert first.client["n_issued"] == len(rows)

    rows, due_s = rows_of(found, 1), schedule(found)
    assert [row["place"] for row in rows] == list(range(len(due_s)))
    assert all(row["worker"] == row["place"] % workers for row in rows)
    kinds = Counter(row["status"] for row in rows)
    assert kinds.total() == second.client["n_issued"]
    assert kinds["dropped"] == second.client["n_dropped"]
    assert set(kinds) == ({"ok", "dropped"} if load == "drop" else {"ok"})
    if load == "replay":
        assert [row["prompt_id"] for row in rows] == [f"p{i}" for i in range(60)]
