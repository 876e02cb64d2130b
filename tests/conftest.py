"""What many tests need: the command line in this process, stored runs, a server; property tests alike everywhere."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from factory import LATENCY, find_folder, rate_folder, run_folder
from forked_simulator import simulator
from hypothesis import settings

from benchsuite.simulator import server as simulator_server
from benchsuite.workload import wineval

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=30)
settings.register_profile("fuzz", deadline=None, max_examples=2000)  # of `make fuzz`
settings.load_profile("ci")

ROOT = Path(__file__).parent.parent

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's would be inherited by what the tests start and end by it

simulator_server.simulator = simulator  # before a test module imports it

wineval.make_wineval = functools.cache(wineval.make_wineval)  # many tests ask for the same set

# what a terminal, a CI job, a proxy and a person's shell ask of every command: a test of that sets it itself
_SHOWN = {"CI", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"}
for name in [name for name in os.environ if name in _SHOWN or name.startswith(("GITHUB_", "OPENAI_"))]:
    del os.environ[name]
os.environ |= {"TERM": "xterm", "TZ": "UTC", "NO_PROXY": "*"}
time.tzset()

# modules that take most of the time of all tests: whole sweeps, servers, killed processes, browsers, every command of
# the guide. `make test` leaves them to `make test-long`; .ci/run runs both
LONG = {
    "test_ab_command", "test_api", "test_clock_steps", "test_conformance", "test_crashes", "test_drivers",
    "test_endpoints", "test_export", "test_faults", "test_find", "test_find_command", "test_foreign_text",
    "test_framing", "test_fuzz", "test_gate_command", "test_gateways", "test_guide", "test_interleave",
    "test_launch_local", "test_matrix_command", "test_one_verdict", "test_open_loop", "test_open_loop_crashes",
    "test_package", "test_page", "test_pages_in_a_browser", "test_portable", "test_random_lengths", "test_resume",
    "test_run_folder_is_data", "test_secrets", "test_served", "test_signals",
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of LONG, before pytest leaves marked ones out."""
    for item in items:
        if item.path.stem in LONG:
            item.add_marker("long")


def pytest_collection_finish() -> None:
    """3,000 collected tests are not walked again by every full collection of garbage."""
    gc.collect()
    gc.freeze()


# what of the environment a measuring process does not read
_ENVIRONMENT = re.compile(r"PYTEST_|COLUMNS|XDG_|GITHUB_|\w*KEY")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not _ENVIRONMENT.match(name)}


@pytest.fixture(scope="session", autouse=True)
def forked_workers() -> Iterator[None]:
    """Measuring processes of sweeps in this process are forked from one that has imported what they need.

    They cost milliseconds instead of a second of CPU; in a test that changes the environment, and in `benchsuite` as a
    process, they are spawned as always.
    """
    real, environment = multiprocessing.get_context, _environment()

    def get_context(method: str | None = None) -> Any:
        return real("forkserver" if method == "spawn" and _environment() == environment else method)

    multiprocessing.set_forkserver_preload(["benchsuite.load.worker_pool"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing, "get_context", get_context)
        yield


@pytest.fixture(scope="session")
def cli() -> CommandLine:
    """The command line: cli("decide", run, "--slo ttft_p95<1s").code, .out, .err, .error; cli.data(...) is its JSON."""
    return CommandLine()


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the demo, the fixture v1, the tables of docs/examples, and made runs. Only to read.

    telemetry: with samples of a GPU and a server of four slots. faulty: four of sixteen requests failed. repeated: four
    repeats of some noise. slower: the same, 20 to 30 % slower. arm_a, arm_b: as of one session of `ab`, B 20 % slower.
    fallback: of two servers, where a paid API took every third request of the highest level. rates: an open loop at a
    server that does 10 a second, which `closed` is the closed loop of. found: a search.
    """
    root = tmp_path_factory.mktemp("stored")
    shutil.copytree(ROOT / "tests" / "fixtures" / "demo", root / "demo")
    for run in (ROOT / "tests" / "fixtures" / "runs").iterdir():
        shutil.copytree(run, root / run.name)
    for table in (ROOT / "docs" / "examples").glob("*.*"):
        shutil.copy(table, root)
    noisy: dict[str, Any] = {"repeats": 4, "requests": 32, "noise": 0.05}
    run_folder(root / "telemetry", gpu=True, server=True, slots=4, noise=0.1, requests=48, repeats=2, seed=1)
    run_folder(root / "faulty", faults={"timeout": 2, "http_error": 1, "truncated": 1}, noise=0.4, seed=2)
    run_folder(root / "repeated", **noisy, seed=3)
    slower = {level: (1.3 * ttft_s, 1.2 * gap_s) for level, (ttft_s, gap_s) in LATENCY.items()}
    run_folder(root / "slower", **noisy, latency=slower, seed=4)
    for i, name in enumerate(("arm_a", "arm_b")):
        arm = dict.fromkeys((2, 4), (0.1 * 1.2**i, 0.01 * 1.2**i))
        run_folder(root / name, levels=(2, 4), repeats=4, noise=0.03, latency=arm, tokens=10, seed=6 + i)
    run_folder(root / "fallback", row=_answered, slo="ttft_mean<1s,output_throughput_per_user>20", **FALLBACK)
    goodput = {"goodput": "ttft<1s"}
    rate_folder(root / "rates", rates=(2.0, 5.0, 14.0), repeats=2, window_s=30.0, slo="ttft_mean<2s", spec=goodput)
    one = dict.fromkeys((1, 2, 4), (0.01, 0.009))
    find_folder(root / "found")
    run_folder(root / "closed", levels=(1, 2, 4), latency=one, slots=1, repeats=2, slo="ttft_mean<2s", spec=goodput)
    return root


URLS = ("http://127.0.0.1:1", "http://127.0.0.1:2", "https://api")
FALLBACK: dict[str, Any] = {
    "spec": {
        "server": {
            "more_base_urls": [URLS[1]],
            "fallback": {"base_url": URLS[2], "model": "paid", "usd_per_1m_input": 2.0, "usd_per_1m_output": 10.0},
        },
        "price": {"gpus": 2},
    },
    "manifest": {"endpoints": [{"base_url": url, "role": "fallback" if url == URLS[2] else "own"} for url in URLS]},
}


def _answered(row: Any) -> Any:
    return row._replace(endpoint=URLS[int(row.request_id[1:]) % (3 if row.concurrency == 8 else 2)])


@pytest.fixture
def in_stored(stored: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The test runs in the folder of stored runs, in a terminal of 80 columns and on nobody's machine."""
    monkeypatch.chdir(stored)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "FORCE_COLOR", "NO_COLOR", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return stored


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test runs in a copy of what the commands of README and GUIDE find in the repository."""
    shutil.copytree(ROOT / "results" / "examples", tmp_path / "results" / "examples")
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def simulated() -> Iterator[Any]:
    """A simulator that answers at once, for tests that only need a server: nothing it counts is any test's own."""
    from benchsuite.simulator.config import LatencyModel, SimulatorConfig
    from benchsuite.simulator.server import simulator

    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.001, itl_s=0.0005))) as server:
        yield server
