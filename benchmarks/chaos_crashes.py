"""Sweeps that are killed at random times: every row that was flushed is recovered, and a resume makes the run whole."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.chaos_kit import (
    Row,
    children,
    keys_of,
    requests_seen,
    resumed_whole,
    server,
    start,
    wait_for,
)
from benchsuite.simulator.server import RunningSimulator
from benchsuite.store.files import MANIFEST
from benchsuite.store.run_folder import read_run, recover

REQUESTS, LEVELS = 100, (2, 6)
KINDS = ("the sweep's process", "a measuring process", "all its processes at once")
_PREFLIGHT = 2


def crashes(
    tries: int, seed: int = 0, requests: int = REQUESTS, levels: tuple[int, ...] = LEVELS, resume_every: int = 1
) -> list[Row]:
    """Kill `tries` sweeps with SIGKILL, each kind in turn, at times drawn from the seed; resume each, or every n-th."""
    rng = random.Random(seed)
    found: dict[str, list[tuple[int, int, str]]] = {kind: [] for kind in KINDS}
    for i in range(tries):
        kind = KINDS[i % len(KINDS)]
        with server() as running, tempfile.TemporaryDirectory(prefix="benchsuite-chaos-") as folder:
            workers = 1 + i % 2 if kind != KINDS[1] else 2
            one = _crash(running, Path(folder) / "run", kind, rng.random() ** 2 * 1.5, requests, levels, workers)
            if not one[2] and i % resume_every == 0:
                one = (*one[:2], resumed_whole(running.base_url, Path(folder) / "run", requests, levels, workers))
        found[kind].append(one)
    return [_row(f"SIGKILL of {kind}", tries) for kind, tries in found.items() if tries]


def _row(fault: str, tries: list[tuple[int, int, str]]) -> Row:
    wrong = [words for _, _, words in tries if words]
    expected, kept = sum(e for e, _, _ in tries), sum(k for _, k, _ in tries)
    outcome = "; ".join(wrong) or "recovered, resumed, whole"
    return Row(fault, len(tries), expected, kept, outcome, not wrong and expected == kept)


def _crash(
    running: RunningSimulator, path: Path, kind: str, delay_s: float, n: int, levels: tuple[int, ...], n_workers: int
) -> tuple[int, int, str]:
    """(rows that had to be there, those that were, what is wrong)."""
    process = start(running.base_url, path, n, levels, n_workers)
    try:
        wait_for(lambda: process.poll() is not None or ((path / MANIFEST).exists() and _measuring(path)))
        time.sleep(delay_s)
        workers = children(process)
        before = _kill(process, workers, kind, path)
        process.wait(60)
        left = psutil.wait_procs(workers, timeout=30)[1]
    finally:
        for one in [*children(process), *([psutil.Process(process.pid)] if process.poll() is None else [])]:
            one.kill()
    if left:
        return 0, 0, "a measuring process stays"
    run = recover(path)
    rows = keys_of(run)
    if kind == KINDS[0]:  # the workers outlive it long enough to write down everything that was sent
        expected, kept = requests_seen(running) - _PREFLIGHT, len(rows)
    else:
        expected, kept = len(before), len(before & set(rows))
    wrong = "a row is there twice" if max(rows.values(), default=1) > 1 else ""
    return expected, kept, wrong


def _measuring(path: Path) -> bool:
    return any((path / "journal").glob("*.arrows")) if (path / "journal").is_dir() else True


def _kill(
    process: subprocess.Popen[bytes], workers: list[psutil.Process], kind: str, path: Path
) -> set[tuple[str, int, str]]:
    """Kill; what lay on the disk at that moment. Who is to die is stopped first, so that the moment is one."""
    victims = {KINDS[0]: [process.pid], KINDS[1]: [w.pid for w in workers[:1]]}.get(
        kind, [process.pid, *(worker.pid for worker in workers)]
    )
    if kind == KINDS[0]:
        process.kill()
        return set()
    for pid in victims:
        _signal(pid, signal.SIGSTOP)
    time.sleep(0.02)
    before = set(keys_of(read_run(path)))
    for pid in victims:
        _signal(pid, signal.SIGKILL)
    return before


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # the sweep had ended
        os.kill(pid, number)
