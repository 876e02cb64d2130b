"""The measuring client against a server that knows when it sent what: whole sweeps, with journal and progress.

Leaves the comparison to `analysis.fidelity`; here only the runs are made. On two or more cores the server is pinned to
one and the client to the others, so that what is measured is the client and not their quarrel over a core.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from benchsuite.load.sweep import sweep
from benchsuite.manifest import RunManifest
from benchsuite.progress import PlannedPoint, ProgressSnapshot
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.spec import DriverName, parse_spec
from benchsuite.store.run_folder import read_run
from benchsuite.workload.dataset import Prompt, make_workload

_TTFT_S = 0.1
_REQUEST_S = 1.3
_CEILING_TOKENS = 400


@dataclass(frozen=True, slots=True)
class Setting:
    """One point of a calibration. tok_s: chunks a second of each stream; None: as fast as the server can.

    together: all streams step at the same instants, as batch engines send.
    """

    concurrency: int
    tok_s: float | None
    together: bool = False
    driver: DriverName = "wire"
    workers: int = 1
    kernel_stamps: bool = True
    seconds: float = 4.0

    @property
    def output_tokens(self) -> int:
        """So many that a request takes a bit over a second."""
        return _CEILING_TOKENS if self.tok_s is None else max(2, round(self.tok_s * (_REQUEST_S - _TTFT_S)))

    @property
    def requests(self) -> int:
        """So many that the point takes about `seconds`; at the ceiling, about two million chunks at most."""
        rounds = 8 if self.tok_s is None else max(2, round(self.seconds / _REQUEST_S))
        return self.concurrency * rounds


@dataclass(frozen=True, slots=True)
class CalibrationRun:
    """What a setting left: the rows, the server's record by response id, and the client's state (manifest form)."""

    setting: Setting
    rows: pa.Table
    origin_monotonic_ns: int
    truth: dict[str, dict[str, Any]]
    client: dict[str, Any]


def run_setting(setting: Setting) -> CalibrationRun:
    """Run one setting through a whole sweep in a temporary folder."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    server_cpus, client_cpus = (set(cpus[:1]), set(cpus[1:])) if len(cpus) > 1 else (None, None)
    load = {
        "concurrency": [setting.concurrency],
        "warmup_requests": setting.concurrency,
        "warmup_min_s": 0.0,
        "cooldown_min_s": 0.0,
        "workers": setting.workers,
        "driver": setting.driver,
        "kernel_timestamps": setting.kernel_stamps,
    }
    message, n = {"role": "user", "content": "How long is a token on its way?"}, setting.output_tokens
    prompts = tuple(Prompt(f"p{i}", None, (message,), None, n) for i in range(setting.requests))
    workload = make_workload("calibration", prompts)
    with tempfile.TemporaryDirectory(prefix="benchsuite-calibrate-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "run"
        with on_cpus(server_cpus) as free, simulator(SimulatorConfig(latency=latency_of(setting))) as server:
            free(client_cpus)
            tree = {"server": {"base_url": server.base_url, "profile": "vllm"}, "load": load}
            sweep(parse_spec(tree, where="calibrate"), workload, path, Silent())
            truth = httpx.get(f"{server.base_url}/stats", timeout=120).json()["responses"]
        run = read_run(path)
    return CalibrationRun(
        setting,
        run.table,
        run.manifest.clock.origin_monotonic_ns or 0,
        {response["id"]: response for response in truth},
        run.manifest.points[0].client,
    )


def latency_of(setting: Setting) -> LatencyModel:
    """The simulator's latencies for a setting: paced, the streams' phases spread evenly unless they step together."""
    return LatencyModel(
        ttft_s=_TTFT_S if setting.tok_s else 0.0,
        itl_s=1 / setting.tok_s if setting.tok_s else 0.0,
        ttft_spread_s=1 / setting.tok_s if setting.tok_s and not setting.together else 0.0,
        synchronized=setting.together,
    )


@contextmanager
def on_cpus(cpus: set[int] | None) -> Iterator[Any]:
    """Run on `cpus` (None: all), and let the block move to others; what this process starts inherits them."""
    before = os.sched_getaffinity(0) if cpus else set()

    def move(to: set[int] | None) -> None:
        if to:
            os.sched_setaffinity(0, to)

    move(cpus)
    try:
        yield move
    finally:
        move(before)


class Silent:
    """A view that shows nothing."""

    def begun(self, path: Path, manifest: RunManifest) -> None: ...

    def progress(self, point: PlannedPoint, progress: ProgressSnapshot, elapsed_s: float) -> None: ...

    def point_done(self, point: PlannedPoint, rows: Any, duration_s: float) -> None: ...

    def note(self, text: str) -> None: ...
