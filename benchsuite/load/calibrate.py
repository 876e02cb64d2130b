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

from benchsuite.load.sweep import sweep
from benchsuite.progress import View
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.spec import DriverName, parse_spec
from benchsuite.store.run_folder import Run, read_run
from benchsuite.workload.dataset import Prompt, make_workload

_TTFT_S = 0.1
_REQUEST_S = 1.3
_CEILING_TOKENS = 400


@dataclass(frozen=True, slots=True)
class Setting:
    """One point of a calibration."""

    concurrency: int
    tok_s: float | None  # chunks a second of each stream; None: as fast as the server can
    together: bool = False  # all streams step at the same instants, as batch engines send
    driver: DriverName = "wire"
    workers: int = 1
    kernel_stamps: bool = True
    seconds: float = 4.0
    prompt_bytes: int = 0  # of each request, besides a question

    @property
    def output_tokens(self) -> int:
        """So many that a request takes a bit over a second."""
        return _CEILING_TOKENS if self.tok_s is None else max(2, round(self.tok_s * (_REQUEST_S - _TTFT_S)))

    @property
    def requests(self) -> int:
        """So many that the point takes about `seconds`; at the ceiling, about two million chunks at most."""
        rounds = 8 if self.tok_s is None else max(2, round(self.seconds / _REQUEST_S))
        return self.concurrency * rounds

    @property
    def latency(self) -> LatencyModel:
        """The simulator's: paced, the streams' phases spread evenly unless they step together."""
        if self.tok_s is None:
            return LatencyModel(synchronized=self.together)
        itl_s = 1 / self.tok_s
        spread_s = 0.0 if self.together else itl_s
        return LatencyModel(ttft_s=_TTFT_S, itl_s=itl_s, ttft_spread_s=spread_s, synchronized=self.together)


def run_setting(setting: Setting) -> tuple[Run, dict[str, dict[str, Any]]]:
    """Run one setting through a whole sweep in a temporary folder: its run, and the server's record by response id."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    server_cpus, client_cpus = (set(cpus[:1]), set(cpus[1:])) if len(cpus) > 1 else (set(), set())
    load = {
        "concurrency": [setting.concurrency],
        "warmup_requests": setting.concurrency,
        "warmup_min_s": 0.0,
        "cooldown_min_s": 0.0,
        "workers": setting.workers,
        "driver": setting.driver,
        "kernel_timestamps": setting.kernel_stamps,
    }
    question = f"How long is a token on its way? {'x' * setting.prompt_bytes}".strip()
    message, n = {"role": "user", "content": question}, setting.output_tokens
    prompts = tuple(Prompt(f"p{i}", None, (message,), None, n) for i in range(setting.requests))
    workload = make_workload("calibration", prompts)
    with tempfile.TemporaryDirectory(prefix="benchsuite-calibrate-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "run"
        config = SimulatorConfig(latency=setting.latency)
        with on_cpus(server_cpus), simulator(config) as server, on_cpus(client_cpus):
            tree = {"server": {"base_url": server.base_url, "profile": "vllm"}, "load": load}
            if not sweep(parse_spec(tree, where="calibrate"), workload, path, View()).complete:
                raise KeyboardInterrupt  # its Ctrl-C was of all points
            truth = httpx.get(f"{server.base_url}/stats", timeout=120, trust_env=False).json()["responses"]
        return read_run(path), {response["id"]: response for response in truth}


@contextmanager
def on_cpus(cpus: set[int]) -> Iterator[None]:
    """Run the block on `cpus` (none: as before); what this process starts inherits them."""
    before = os.sched_getaffinity(0) if cpus else set()
    try:
        if cpus:
            os.sched_setaffinity(0, cpus)
        yield
    finally:
        if cpus:
            os.sched_setaffinity(0, before)
