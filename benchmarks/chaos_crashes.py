"""Sweeps that are killed at fault points: every row that was flushed is recovered, and a resume makes the run whole."""

from __future__ import annotations

import contextlib
import random
import subprocess
import tempfile
from pathlib import Path

import psutil

from benchmarks.chaos_kit import Row, group_of, keys_of, requests_seen, resumed_whole, server, start, wait_for
from benchsuite.simulator.server import RunningSimulator
from benchsuite.store.files import MANIFEST
from benchsuite.store.run_folder import read_run, recover

REQUESTS, LEVELS = 100, (2, 6)
KINDS = ("the sweep's process", "a measuring process", "all its processes at once")
_PREFLIGHT = 2
_PARENT = ("spawn@main", "order@main", "compaction@main", "rename@main", "unlink@main", "fsync@main")


def crashes(
    tries: int, seed: int = 0, requests: int = REQUESTS, levels: tuple[int, ...] = LEVELS, resume_every: int = 1
) -> list[Row]:
    """Kill `tries` sweeps with SIGKILL, each kind in turn, at seeded points; resume each, or every n-th."""
    rng = random.Random(seed)
    found: dict[str, list[tuple[int, int, str]]] = {kind: [] for kind in KINDS}
    for i in range(tries):
        kind, workers = KINDS[i % len(KINDS)], 1 + i % 2
        with server() as running, tempfile.TemporaryDirectory(prefix="benchsuite-chaos-") as folder:
            path = Path(folder) / "run"
            one = crash(running, path, plan_of(kind, rng, workers), requests, levels, workers)
            if not one[2] and i % resume_every == 0:
                one = (*one[:2], resumed_whole(running.base_url, path, requests, levels, workers))
        found[kind].append(one)
    return [_row(f"SIGKILL of {kind}", tries) for kind, tries in found.items() if tries]


def plan_of(kind: str, rng: random.Random, n_workers: int) -> str:
    """A fault of this kind. A measuring process is stopped first, so that what lies on the disk can be read."""
    batch = f"batch@worker-{rng.randrange(n_workers)}:{1 + int(6 * rng.random() ** 2)}"
    if kind == KINDS[0]:
        return rng.choice([f"{batch}:kill-parent", f"{rng.choice(_PARENT)}:{rng.randint(1, 9)}:kill"])
    return f"{batch}:stop" if kind == KINDS[1] else f"{batch}:kill-group"


def _row(fault: str, tries: list[tuple[int, int, str]]) -> Row:
    wrong = [words for _, _, words in tries if words]
    expected, kept = sum(e for e, _, _ in tries), sum(k for _, k, _ in tries)
    outcome = "; ".join(wrong) or "recovered, resumed, whole"
    return Row(fault, len(tries), expected, kept, outcome, not wrong and expected == kept)


def crash(
    running: RunningSimulator, path: Path, plan: str, n: int, levels: tuple[int, ...], n_workers: int
) -> tuple[int, int, str]:
    """Sweep under the plan: (rows that had to be there, those that were, what is wrong)."""
    process = start(running.base_url, path, n, levels, n_workers, plan)
    try:
        wait_for(lambda: process.poll() is not None or _stopped(process))
        there = keys_of(read_run(path)) if (path / MANIFEST).exists() else None
        for stopped in _stopped(process):
            stopped.kill()
        process.wait(60)
        wait_for(lambda: not group_of(process))  # nobody stays
    finally:
        for one in group_of(process):
            with contextlib.suppress(psutil.Error):
                one.kill()
    if not (path / MANIFEST).exists():
        return 0, 0, ""
    before = keys_of(read_run(path)) if "kill-group" in plan else there
    rows = keys_of(recover(path))
    if "stop" in plan or "kill-group" in plan:
        assert before is not None
        expected, kept = before.total(), (before & rows).total()
    else:  # the measuring processes outlive the sweep's long enough to write down everything that was sent
        expected, kept = requests_seen(running) - _PREFLIGHT, rows.total()
    return expected, kept, "a row is there twice" if max(rows.values(), default=1) > 1 else ""


def _stopped(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    stopped = []
    for one in group_of(process):
        with contextlib.suppress(psutil.Error):
            if one.status() == psutil.STATUS_STOPPED:
                stopped.append(one)
    return stopped
