"""What the chaos tests share: small real sweeps, here and as processes to be killed, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchsuite import fault_points
from benchsuite.load.sweep import sweep
from benchsuite.progress import SweepResult, View
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import RunningSimulator, simulator
from benchsuite.spec import SweepSpec, parse_spec
from benchsuite.store.files import MANIFEST
from benchsuite.store.run_folder import Run, read_run
from benchsuite.workload.dataset import Prompt, Workload, make_workload

_NO_PAUSES = {"warmup_min_s": 0, "cooldown_min_s": 0, "cooldown_max_s": 0}
FAST = LatencyModel(ttft_s=0.005, itl_s=0.002)
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was done how often, the rows that had to be there, those that were, and a word."""

    fault: str
    tried: int
    expected: int
    kept: int
    outcome: str
    good: bool


def prompts(n: int, tokens: int = 3) -> Workload:
    """n prompts of a few tokens."""
    made = [Prompt(f"p{i}", None, ({"role": "user", "content": f"question {i}"},), None, tokens) for i in range(n)]
    return make_workload("chaos", tuple(made))


def spec_of(base_url: str, levels: Sequence[int], workers: int = 1, **more: Any) -> SweepSpec:
    """A sweep without warm-up, pauses and samplers. more: tables to merge in."""
    tree: dict[str, Any] = {
        "server": {"base_url": base_url, "profile": "openai", "model": "simulator"},
        "load": {"concurrency": list(levels), "workers": workers, "warmup_requests": 0} | _NO_PAUSES,
        "telemetry": {"gpu": "off", "server_metrics": False},
    }
    for table, values in more.items():
        tree[table] = tree.get(table, {}) | values
    return parse_spec(tree, where="chaos")


def measure(spec: SweepSpec, workload: Workload, path: Path) -> SweepResult:
    """A sweep in this process (its workers have their own)."""
    return sweep(spec, workload, path, View())


@contextmanager
def server(**more: Any) -> Iterator[RunningSimulator]:
    """A simulator with quick answers; more: fields of its configuration."""
    with simulator(SimulatorConfig(**({"latency": FAST} | more))) as running:
        yield running


def start(base_url: str, path: Path, n: int, levels: Sequence[int], workers: int, plan: str) -> subprocess.Popen[bytes]:
    """`measure(spec_of(base_url, levels, workers), prompts(n), path)` as a process group under a plan of faults."""
    words = [base_url, str(path), str(n), ",".join(map(str, levels)), str(workers)]
    command = [sys.executable, "-m", "benchmarks.chaos_kit", *words]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | {fault_points.VARIABLE: plan}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **silent)


def group_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """What still lives of its process group; whom nobody reaps is dead."""
    group = []
    for one in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(one.pid) == process.pid and one.status() != psutil.STATUS_ZOMBIE:
                group.append(one)
    return group


def wait_for(found: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Poll until `found()` is true; what it returned. Raises TimeoutError."""
    end_s = time.monotonic() + timeout_s
    while not (value := found()):
        if time.monotonic() > end_s:
            raise TimeoutError("it did not happen")
        time.sleep(0.03)  # a look at all processes costs milliseconds
    return value


def keys_of(run: Run) -> Counter[tuple[str, int, str]]:
    """(point, attempt, request) of every row."""
    columns = (run.table[name].to_pylist() for name in ("point_id", "attempt", "request_id"))
    return Counter(zip(*columns, strict=True))


def resumed_whole(base_url: str, path: Path, n: int, levels: Sequence[int], workers: int) -> str:
    """Take the run up again; what is wrong then, "" if every request of every point is there just once."""
    before = keys_of(read_run(path)) if (path / MANIFEST).exists() else Counter()
    result = measure(spec_of(base_url, levels, workers), prompts(n), path)
    run = read_run(path)
    if not result.complete:
        return "the resumed sweep did not end"
    per_point = Counter(run.whole["point_id"].to_pylist())
    if per_point != {f"c{level:04d}-r0": n for level in levels}:
        return f"rows of points {dict(per_point)}"
    if len(set(run.whole["request_id"].to_pylist())) != n * len(levels) or max(keys_of(run).values()) > 1:
        return "a row is there twice"
    return "" if not before - keys_of(run) else "earlier rows are gone"


def requests_seen(running: RunningSimulator) -> int:
    """How many requests the server has taken."""
    count: int = httpx.get(f"{running.base_url}/stats?summary", timeout=30).json()["requests"]
    return count


if __name__ == "__main__":
    base_url_, path_, n_, levels_, workers_ = sys.argv[1:]
    asked = spec_of(base_url_, [int(level) for level in levels_.split(",")], int(workers_))
    measure(asked, prompts(int(n_)), Path(path_))
