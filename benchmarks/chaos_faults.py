"""Servers that fail in every way at once: nobody hangs, every request is accounted for."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.chaos_kit import Row, measure, prompts, requests_seen, server, spec_of
from benchsuite.simulator.config import FAULT_KINDS, Fault, SimulatorConfig
from benchsuite.simulator.server import drawn_fault
from benchsuite.store.run_folder import Run, read_run

# what each kind becomes with the limits below
BECOMES = {
    "reset": "stream_error", "cut": "truncated", "truncated": "truncated", "stall": "timeout",
    "error_event": "stream_error", "malformed": "stream_error", "huge_line": "ok", "wrong_usage": "ok",
    "slow_headers": "timeout", "early_close": "stream_error", "garbage_status": "stream_error",
    "http_429": "http_error", "http_500": "http_error", "http_503": "http_error",
}  # fmt: skip
_LIMITS = {"idle_s": 4.0, "request_s": 20.0}
_PREFLIGHT = 2


def all_faults(probability: float) -> tuple[Fault, ...]:
    """Every kind; the silent ones silent for longer than the client waits."""
    assert set(BECOMES) == set(FAULT_KINDS)
    return tuple(Fault(kind=kind, probability=probability, delay_s=15.0, size_bytes=300_000) for kind in FAULT_KINDS)  # type: ignore[arg-type]


def faults_together(n: int = 2560, users: int = 128, workers: int = 3, tries: int = 3) -> list[Row]:
    """All kinds of faults in one point: sent = ok + each class of failure = the server's own count."""
    rows, kept, wrong = 0, 0, []
    faults = all_faults(0.04)
    seeds = (s for s in range(10_000) if _spares_preflight(faults, s))
    for seed, _ in zip(seeds, range(tries), strict=False):
        with server(faults=faults, seed=seed) as running, tempfile.TemporaryDirectory(prefix="benchsuite-") as folder:
            path = Path(folder) / "run"
            measure(spec_of(running.base_url, [users], workers, timeouts=_LIMITS), prompts(n), path)
            seen, run = requests_seen(running), read_run(path)
        rows, kept = rows + n, kept + run.table.num_rows
        wrong += what_is_wrong(run, faults, seed, seen)
    named = f"all {len(FAULT_KINDS)} faults at once, {users} users, {workers} workers"
    return [Row(named, tries, rows, kept, "; ".join(wrong) or "counts exact by class", not wrong and rows == kept)]


def _spares_preflight(faults: tuple[Fault, ...], seed: int) -> bool:
    config = SimulatorConfig(faults=faults, seed=seed)
    return not any(drawn_fault(config, i) for i in range(_PREFLIGHT))


def what_is_wrong(run: Run, faults: tuple[Fault, ...], seed: int, seen: int) -> list[str]:
    """Holds the rows against what the server drew for each request that it took."""
    config = SimulatorConfig(faults=faults, seed=seed)
    drawn = [drawn_fault(config, i) for i in range(_PREFLIGHT, seen)]
    expected = Counter("ok" if fault is None else BECOMES[fault.kind] for fault in drawn)
    retries = sum(run.table["stale_retries"].to_pylist())
    expected["stream_error"] -= retries  # a kept-alive connection that ended without a byte is tried once more
    wrong = []
    found = Counter(run.table["status"].to_pylist())
    if found != expected:
        wrong.append(f"statuses {dict(found)}, the server's {dict(expected)}")
    if run.table.num_rows + retries != seen - _PREFLIGHT:
        wrong.append(f"{run.table.num_rows} rows and {retries} retries, {seen - _PREFLIGHT} requests at the server")
    client: dict[str, Any] = run.manifest["points"][0]["client"]
    if client["fds_start"] != client["fds_end"]:
        wrong.append(f"{client['fds_end']} open files after, {client['fds_start']} before")
    return wrong
