"""What the chaos tests share: small real sweeps, here and as processes to be killed, and what is left of them."""

from __future__ import annotations

import contextlib
import multiprocessing.util
import os
import pickle
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from benchsuite import fault_points
from benchsuite.cli.main import main
from benchsuite.load.sweep import sweep
from benchsuite.progress import SweepResult, View
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import RunningSimulator, simulator
from benchsuite.spec import SweepSpec, parse_spec
from benchsuite.store.run_folder import Run
from benchsuite.workload.dataset import Prompt, Workload, make_workload

_NO_PAUSES = {"warmup_min_s": 0, "cooldown_min_s": 0, "cooldown_max_s": 0}
FAST = LatencyModel(ttft_s=0.005, itl_s=0.002)
ROOT = Path(__file__).parents[1]
T = TypeVar("T")


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


def fork(body: Callable[[], object], log: Path | None = None) -> int:
    """Run it in a process of its own, which ends with the code of a SystemExit, 1 for another exception; its pid.

    log: its output, and it has a process group of its own. The caller must have no threads.
    """
    sys.stdout.flush()
    if pid := os.fork():
        return pid
    code: object = 0
    try:
        if log is not None:
            os.setsid()
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            for descriptor in (1, 2):
                os.dup2(file, descriptor)
        try:
            body()
        finally:
            multiprocessing.util._exit_function()  # what Python does at its end
    except SystemExit as exit_:
        code = exit_.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


def in_fork(body: Callable[[], T]) -> T:
    """What `body` returns in a process of its own. Raises RuntimeError where that ends otherwise."""
    read, write = os.pipe()

    def told() -> None:
        with os.fdopen(write, "wb") as file:
            pickle.dump(body(), file)

    pid = fork(told)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        answer = file.read()
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RuntimeError(f"a process ended with {code}")
    value: T = pickle.loads(answer)
    return value


def sweep_words(
    base_url: str, path: Path, levels: Sequence[int], workers: int, *more: str, rate: bool = False
) -> list[str]:
    """The words of a sweep without warm-up and pauses. rate: of an open loop."""
    words = ["sweep", "--base-url", base_url, "--profile", "vllm", "--model", "simulator", "--output", str(path)]
    words += [
        "--rate" if rate else "--concurrency",
        ",".join(map(str, levels)),
        "--workers",
        str(workers),
        "--warmup-requests",
        "0",
    ]
    words += ["--warmup-min-s", "0", "--cooldown-min-s", "0", "--gpu", "off", "--usd-per-hour", "1", "--quiet"]
    return [*words, *more]


def find_words(base_url: str, path: Path, ends: tuple[int, int], workers: int, *more: str) -> list[str]:
    """The words of a search between two levels, of a few seconds, which any server meets."""
    words = ["find", "--base-url", base_url, "--profile", "vllm", "--model", "simulator", "--output", str(path)]
    words += ["--workers", str(workers), "--start", str(ends[0]), "--high", str(ends[1]), "--slo", "ttft_mean<9s"]
    return [*words, "--budget-min", "0.1", "--gpu", "off", "--usd-per-hour", "1", "--quiet", *more]


def start_cli(words: list[str], plan: str, log: Path) -> int:
    """`benchsuite WORDS` under a plan of faults, as a process group; its pid."""

    def body() -> None:
        os.environ[fault_points.VARIABLE] = plan
        fault_points.set_plan(plan)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where chaos runs in the background
        sys.argv = ["benchsuite", *words]
        main()

    return fork(body, log)


def group_of(pid: int, status: str | None = None) -> list[psutil.Process]:
    """What still lives of a process group, in this state if one is given; whom nobody reaps is dead."""
    group = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == pid and (now := process.status()) not in ("zombie", "dead"):
                group += [process] if status in (None, now) else []
    return group


def keys_of(run: Run) -> Counter[tuple[str, int, str]]:
    """(point, attempt, request) of every row."""
    columns = (run.table[name].to_pylist() for name in ("point_id", "attempt", "request_id"))
    return Counter(zip(*columns, strict=True))


def requests_seen(running: RunningSimulator) -> int | None:
    """How many requests the server has taken; None if it is gone."""
    with contextlib.suppress(httpx.HTTPError):
        count: int = httpx.get(f"{running.base_url}/stats?summary", timeout=30).json()["requests"]
        return count
    return None
