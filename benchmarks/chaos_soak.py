"""Long and wide: 200,000 requests through 128 streams, 10,000 streams at once; memory, files, error of the client."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.chaos_kit import prompts, server, spec_of
from benchsuite.load.sweep import sweep
from benchsuite.progress import View
from benchsuite.simulator.config import LatencyModel
from benchsuite.store.run_folder import read_run
from benchsuite.telemetry.host import raise_limit

REQUESTS, QUARTERS, USERS, TOKENS = 200_000, 4, 128, 6
LATENCY = LatencyModel(ttft_s=0.04, itl_s=0.01, ttft_spread_s=0.01)
WIDE_LATENCY = LatencyModel(ttft_s=12.0, itl_s=2.0)
_FIRST_S = 60.0


class _Watch:
    """Memory and open files of the measuring processes, once a second, in a thread."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        me, began_s = psutil.Process(), time.monotonic()
        while not self._ended.wait(1.0):
            try:
                workers = [p for p in me.children() if "spawn_main" in " ".join(p.cmdline())]
                rss = sum(p.memory_info().rss for p in workers)
                files = sum(p.num_fds() for p in workers)
            except psutil.Error:
                continue
            if workers:
                self.samples.append((time.monotonic() - began_s, rss / 2**20, files))


class _Truth(View):
    """How far the client's gaps are from the server's own, in each quarter of the point.

    The server keeps its last 65,536 responses, so it is asked at the end of each quarter.
    """

    def __init__(self, base_url: str, requests: int) -> None:
        self._base_url, self._size = base_url, -(-requests // QUARTERS)
        self._truth: list[dict[str, Any]] = []
        self.errors_us: list[tuple[float, float]] = []
        self.wall_s = 0.0

    def _ask(self) -> None:
        sent = httpx.get(f"{self._base_url}/stats", timeout=300).json()["responses"][-self._size :]
        self._truth.append({one["id"]: one["sent_ns"] for one in sent[:: max(1, len(sent) // 10_000)]})

    def progress(self, point: Any, progress: Any, elapsed_s: float) -> None:  # noqa: ARG002 - a View's
        if progress.done >= self._size * (len(self._truth) + 1) and len(self._truth) < QUARTERS - 1:
            self._ask()

    def point_done(self, point: Any, rows: Any, duration_s: float) -> None:  # noqa: ARG002 - a View's
        self._ask()
        ours = dict(zip(rows["response_id"].to_pylist(), rows["chunk_gap_us"], strict=True))
        for truth in self._truth:
            pairs = [(np.diff(ns) / 1000, ours[name].values.to_numpy()) for name, ns in truth.items() if name in ours]
            # what was still being sent when the server was asked is left out
            errors = np.concatenate([np.abs(sent - seen) for sent, seen in pairs if len(sent) == len(seen)])
            self.errors_us.append((float(np.quantile(errors, 0.5)), float(np.quantile(errors, 0.99))))
        self.wall_s = duration_s


def soak(requests: int = REQUESTS) -> list[str]:
    """One point of 200,000 requests in one measuring process."""
    with (
        server(latency=LATENCY) as running,
        tempfile.TemporaryDirectory(prefix="benchsuite-soak-") as folder,
        _Watch() as seen,
    ):
        truth = _Truth(running.base_url, requests)
        load = {"warmup_min_s": 0, "cooldown_min_s": 0}
        spec = spec_of(running.base_url, [USERS], 1, load=load)
        sweep(spec, prompts(requests, TOKENS), Path(folder) / "run", truth)
        run = read_run(Path(folder) / "run")
    ok = run.table["status"].to_pylist().count("ok")
    late = [(rss, files) for at_s, rss, files in seen.samples if at_s > _FIRST_S] or [s[1:] for s in seen.samples]
    (point,) = run.manifest["points"]
    client = point["client"]
    rss_mb = [rss for rss, _ in late]
    files = sorted({n for _, n in late if n > USERS})  # the last sample may come when the connections are closed
    return [
        f"**Soak**: {run.table.num_rows:,} requests ({ok:,} ok) of {TOKENS} tokens through {USERS} streams, one "
        f"measuring process, {truth.wall_s:.0f} s ({requests / truth.wall_s:.0f} requests/s).",
        "",
        f"* memory of the measuring process after the first minute: {min(rss_mb):.1f} to {max(rss_mb):.1f} MB "
        "(sampled each second)",
        f"* open files after the first minute, while the point ran: {', '.join(map(str, files))}; before and after it "
        f"{client['fds_start']} / {client['fds_end']}",
        "* error of the gaps (client minus server), p50 / p99, by quarter: "
        + ", ".join(f"{p50:.1f} / {p99:.0f} us" for p50, p99 in truth.errors_us),
        f"* CPU of the client: {client['cpu_share_mean']:.0%} of a core",
    ]


def streams(users: int = 10_000, workers: int = 4) -> list[str]:
    """So many streams open at the same time, all answered."""
    raise_limit(users + 1000)  # the server's process inherits it
    with server(latency=WIDE_LATENCY) as running, tempfile.TemporaryDirectory(prefix="benchsuite-wide-") as folder:
        load = {"warmup_min_s": 0, "cooldown_min_s": 0}
        spec = spec_of(running.base_url, [users], workers, load=load, timeouts={"connect_s": 60.0})
        began_s = time.monotonic()
        sweep(spec, prompts(users, 4), Path(folder) / "run", View())
        took_s = time.monotonic() - began_s
        run = read_run(Path(folder) / "run")
    ok = run.table["status"].to_pylist().count("ok")
    sent, closed = (np.sort(run.table[name].to_numpy()) for name in ("sent_s", "closed_s"))
    most = int(np.max(np.arange(1, len(sent) + 1) - np.searchsorted(closed, sent, side="right")))
    client = run.manifest["points"][0]["client"]
    return [
        "",
        f"**Wide**: {users:,} streams over {workers} measuring processes: {most:,} in flight at once, {ok:,} ok of "
        f"{run.table.num_rows:,}, {took_s:.0f} s; open files {client['fds_start']} / {client['fds_end']}; "
        f"{client['rss_end_bytes'] / 2**20:.0f} MB in all measuring processes; read lag p99 "
        f"{(client['read_lag']['p99_us'] or 0) / 1000:.1f} ms.",
    ]
