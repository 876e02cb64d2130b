"""At every phase of a sweep: Ctrl-C ends it in order, the second ends it at all, SIGTERM ends it. Nothing is left."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fault_plans import faults
from sweeps_for_tests import Watcher, prompts, run, spec_of

from benchsuite import fault_points
from benchsuite.errors import RunError
from benchsuite.load import worker_pool
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.store.run_folder import read_run
from tests.security.hostile_servers import serving, whole

LIMIT_S = 120.0
FLAGS = [
    "--concurrency", "2", "--requests", "40", "--max-output-tokens", "4", "--warmup-requests", "2", "--gpu", "off",
    "--profile", "openai", "--model", "simulator", "--request-timeout-s", "4", "--cooldown-min-s", "0",
    "--usd-per-hour", "1",
]  # fmt: skip
# where the sweep's own process stops (SIGSTOP), and is sent its signals before it goes on
POINTS = {
    "imports": "start@main:1",
    "starting a measuring process": "spawn@main:1",
    "ordering a warm-up": "order@main:1",
    "starting a warm-up": "order@main:2",
    "ordering a point": "order@main:3",
    "the first file": "rename@main:1",
    "putting a point together": "compaction@main:1",
    "putting the run together": "compaction@main:2",
    "the last files": "rename@main:9",
    "the report": "report@main:1",
}
SIGNALS = {
    "Ctrl-C": (signal.SIGINT,),
    "Ctrl-C twice": (signal.SIGINT, signal.SIGINT),
    "SIGTERM": (signal.SIGTERM,),
}


def started(url: str, path: Path, plan: str = "", *more: str) -> subprocess.Popen[bytes]:
    """A sweep as a process group of its own, which follows a plan of faults."""
    command = [sys.executable, "-m", "benchsuite", "sweep", "--base-url", url, *FLAGS, "--output", str(path), *more]
    return subprocess.Popen(
        command, env=os.environ | {fault_points.VARIABLE: plan}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def ends(process: subprocess.Popen[bytes], children: list[psutil.Process]) -> None:
    """It does within the limit, says so without a traceback, and leaves no process."""
    try:
        said = process.communicate(timeout=LIMIT_S)[1]
        assert b"Traceback" not in said, said.decode()
        assert psutil.wait_procs(children, timeout=LIMIT_S)[1] == []
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def until(over: object) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not over():  # type: ignore[operator]
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A fast server."""
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.005, itl_s=0.002))) as running:
        yield running.base_url


@pytest.mark.parametrize("signals", SIGNALS.values(), ids=SIGNALS)
@pytest.mark.parametrize("point", [
    point if name == "ordering a point" else pytest.param(point, marks=pytest.mark.slow)
    for name, point in POINTS.items()
], ids=POINTS)  # fmt: skip
def test_a_signal_at_a_fault_point(point: str, signals: tuple[int, ...], url: str, tmp_path: Path) -> None:
    """The signals wait while it stands; then it ends, and what is in its folder can be read."""
    process = started(url, tmp_path / "run", f"{point}:stop")
    seen = psutil.Process(process.pid)
    until(lambda: process.poll() is not None or seen.status() == psutil.STATUS_STOPPED)
    children = [] if process.poll() is not None else seen.children(recursive=True)
    for number in signals:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.2 if len(signals) > 1 else 0)  # the kernel keeps only one that waits
    ends(process, children)
    if (tmp_path / "run" / "manifest.json").exists():
        assert read_run(tmp_path / "run").manifest.status in ("stopped", "complete", "failed")


@pytest.mark.parametrize("signals", [
    signals if name == "Ctrl-C" else pytest.param(signals, marks=pytest.mark.slow) for name, signals in SIGNALS.items()
], ids=SIGNALS)  # fmt: skip
@pytest.mark.parametrize("answered", [*(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1)), 4])
def test_a_signal_while_the_server_says_nothing(answered: int, signals: tuple[int, ...], tmp_path: Path) -> None:
    """In the preflight, in the warm-up, in the point: a server that took the request and never answers holds nobody."""
    asked, over = threading.Semaphore(0), threading.Event()
    count = iter(range(10**9))
    event = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    def handle(sock, request):
        if request.startswith(b"GET"):
            sock.sendall(whole({"data": [{"id": "simulator"}]}))
        elif next(count) < answered:
            sock.sendall(whole(event, kind=b"text/event-stream"))
        else:
            asked.release()
            over.wait(LIMIT_S)

    with serving(handle) as server:
        process = started(server, tmp_path / "run")
        assert asked.acquire(timeout=LIMIT_S)
        children = psutil.Process(process.pid).children(recursive=True)
        for number in signals:
            os.killpg(process.pid, number)
            time.sleep(0.2 if len(signals) > 1 else 0)
        ends(process, children)
        over.set()


def test_the_second_ctrl_c_names_the_command_that_goes_on(tmp_path: Path, monkeypatch) -> None:
    """The first says that a second stops at once, the second how to go on; that command has all that is given again."""
    monkeypatch.setenv("COLUMNS", "1000")
    asked, over = threading.Semaphore(0), threading.Event()
    count = iter(range(10**9))

    def handle(sock, request):
        if request.startswith(b"GET"):
            sock.sendall(whole({"data": [{"id": "simulator"}]}))
        elif next(count) < 4:  # the preflight and the warm-up
            sock.sendall(whole(b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
                               b"data: [DONE]\n\n", kind=b"text/event-stream"))  # fmt: skip
        else:
            asked.release()
            over.wait(LIMIT_S)

    def line_with(words: bytes) -> str:
        assert process.stderr is not None
        return next(line for line in process.stderr if words in line).decode()

    with serving(handle) as server:
        process = started(server, tmp_path / "run", "", "--json")
        assert asked.acquire(timeout=LIMIT_S)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        assert "Ctrl-C again" in line_with(b"finishing")
        os.killpg(process.pid, signal.SIGINT)
        last = line_with(b"stopping now")
        ends(process, children)
        over.set()
    assert process.returncode == 1  # no level is complete
    assert shlex.split(last.split("go on with: ")[1]) == [
        "benchsuite", "sweep", "--resume", str(tmp_path / "run"), "--base-url", server
    ]  # fmt: skip


@pytest.mark.parametrize("signals", [SIGNALS["Ctrl-C twice"], pytest.param(SIGNALS["SIGTERM"], marks=pytest.mark.slow)])
def test_a_signal_while_a_measuring_process_is_stopped(signals: tuple[int, ...], url: str, tmp_path: Path) -> None:
    """It cannot answer, and is killed; what it had written down is kept."""
    process = started(url, tmp_path / "run", "batch.2@worker-0:2:stop")
    seen = psutil.Process(process.pid)
    until(lambda: any(child.status() == psutil.STATUS_STOPPED for child in seen.children()))
    children = seen.children(recursive=True)
    for number in signals:
        os.killpg(process.pid, number)
        time.sleep(0.2)
    ends(process, children)
    assert read_run(tmp_path / "run").table.num_rows > 0


def test_a_measuring_process_that_stays_stopped_is_given_up(url: str, tmp_path: Path, monkeypatch) -> None:
    """Without a signal too: it is silent for longer than a limit, and the sweep ends with its rows kept."""
    monkeypatch.setattr(worker_pool, "_SILENT_S", 0.5)
    monkeypatch.setattr(worker_pool, "_CLOSE_S", 0.2)
    with faults("batch@worker-0:2:stop"), pytest.raises(RunError, match="hangs or is stopped"):
        run(spec_of(url, [2]), prompts(40), tmp_path / "run", Watcher())
    found = read_run(tmp_path / "run")
    assert found.manifest.status == "failed"
    assert found.table.num_rows > 0
