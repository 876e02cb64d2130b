"""A run with repeats, noise, and samples of a GPU and a server, so that every part of the report has something to show.

Nothing in it was measured: the model's name says so.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from benchsuite.records import SCHEMA_VERSION, GpuSample, RequestRecord, ServerSample
from benchsuite.store.files import GPU, SERVER
from benchsuite.store.journal import Journal
from benchsuite.store.run_folder import RunFolder

LEVELS = (8, 16, 32, 48, 64, 128)
CLIENT = {
    "self_lag": {"n": 9, "p50_us": 10.0, "p99_us": 77.5, "max_us": 400.0},
    "loop_lag": {"n": 9, "p50_us": 90.0, "p99_us": 410.0, "max_us": 900.0},
    "merged_read_share": 0.0,
    "cpu_share_mean": 0.12,
    "cpu_share_max_1s": 0.3,
    "steal_s": None,
    "n_chunks": 26000,
}
SLOTS = 64  # of the server: what is beyond waits
IDLE_W, FULL_W = 110.0, 640.0


def make_big_run(folder: Path, *, repeats: int = 3, requests: int = 192, levels: tuple[int, ...] = LEVELS) -> Path:
    """Levels 8 to 128 of a server with 64 slots; throughput > 20 holds up to 48."""
    rng = np.random.default_rng(7)
    run, points, measured, origin_s = RunFolder(folder), [], [], 5.0
    for repeat in range(repeats):
        for level in levels:
            point_id = f"c{level:04d}-r{repeat}"
            rows, ended_s = _point(point_id, level, repeat, requests, origin_s, rng)
            journal = Journal(run.journal_path(point_id, 0))
            for row in rows:
                journal.append(row)
            journal.close()
            run.finish_point(point_id)
            measured.append(rows)
            points.append(_entry(point_id, level, repeat, origin_s, ended_s))
            origin_s = ended_s + 4.0
    gpu, server = _samples(measured, origin_s, rng)
    for name, samples in ((GPU, gpu), (SERVER, server)):
        log = run.sample_log(name)
        log.append(samples)
        log.close()
    run.finish()
    run.write_manifest(_manifest(points, requests, repeats, levels))
    return folder


def _entry(point_id: str, level: int, repeat: int, start_s: float, end_s: float) -> dict[str, Any]:
    return {
        "point_id": point_id, "concurrency": level, "repeat": repeat, "status": "complete", "client": CLIENT,
        "started_s": start_s - 0.5, "ended_s": end_s + 0.5,
    }  # fmt: skip


def _point(
    point_id: str, level: int, repeat: int, requests: int, start_s: float, rng: Any
) -> tuple[list[RequestRecord], float]:
    """Each of `level` users sends its next request when its last one has ended."""
    free_s = np.full(level, start_s)
    busy = min(level, SLOTS)
    gap_s = (0.012 + 0.00062 * busy) * rng.normal(1, 0.01)
    rows = []
    for i in range(requests):
        user = int(np.argmin(free_s))
        sent_s = float(free_s[user])
        n = int(np.clip(rng.lognormal(4.2, 0.5), 8, 300))
        wait_s = 0.0 if level <= SLOTS else (level - SLOTS) / SLOTS * 120 * gap_s * rng.uniform(0.6, 1.0)
        ttft_s = 0.06 + 0.0016 * busy + wait_s + rng.exponential(0.02)
        if i < level:
            ttft_s += 0.012 * i / 4
        gaps = np.maximum(rng.normal(gap_s, gap_s * 0.12, n - 1), 1e-3)
        first_s = sent_s + ttft_s
        last_s = first_s + float(gaps.sum())
        free_s[user] = last_s + 0.0005
        row = _row(point_id, level, repeat, i, sent_s, first_s, last_s, gaps)
        rows.append(row._replace(server_queue_s=wait_s, server_prefill_s=0.9 * (ttft_s - wait_s)))
    return rows, max(row.closed_s or 0.0 for row in rows)


def _row(
    point_id: str, level: int, repeat: int, i: int, sent_s: float, first_s: float, last_s: float, gaps: Any
) -> RequestRecord:
    n = len(gaps) + 1
    known = {
        "run_id": "r", "point_id": point_id, "concurrency": level, "repeat": repeat, "request_id": f"q{i}",
        "prompt_id": f"p{i}", "worker": 0, "scheduled_s": sent_s, "sent_s": sent_s, "headers_s": first_s,
        "first_token_s": first_s, "first_answer_s": first_s, "last_token_s": last_s, "closed_s": last_s,
        "chunk_gap_us": array("i", [round(g * 1e6) for g in gaps]), "input_tokens": 450, "output_tokens": n,
        "n_chunks": n, "n_empty_chunks": 1, "n_reads": n, "merged_reads": 0, "self_lag_max_us": 9,
        "connection_reused": True, "stale_retries": 0, "token_source": "usage", "stamp_source": "kernel",
        "finish_reason": "stop", "status": "ok", "http_status": 200, "asked_output_tokens": 300, "attempt": 0,
    }  # fmt: skip
    return RequestRecord(**{name: known.get(name) for name in RequestRecord._fields})


def _samples(measured: list[list[RequestRecord]], end_s: float, rng: Any) -> tuple[list[GpuSample], list[ServerSample]]:
    gpu, server, joules = [], [], 0.0
    sent_s = np.sort([row.sent_s for rows in measured for row in rows])
    closed_s = np.sort([row.closed_s for rows in measured for row in rows])
    for at_s in np.arange(0.0, end_s, 0.5):
        flight = int(np.searchsorted(sent_s, at_s, "right") - np.searchsorted(closed_s, at_s, "right"))
        running, waiting = min(flight, SLOTS), max(flight - SLOTS, 0)
        load = running / SLOTS
        watts = IDLE_W + (FULL_W - IDLE_W) * min(1.0, 0.35 * (running > 0) + 0.65 * load) + rng.normal(0, 6)
        joules += watts * 0.5
        common = {"at_s": float(at_s), "wall_s": 1.8e9 + float(at_s)}
        gpu.append(
            GpuSample(
                **common, source="nvml", uuid="GPU-0000", util_ratio=(0.93 + 0.07 * load) * (running > 0),
                memory_used_bytes=72_000_000_000, memory_total_bytes=80_000_000_000, power_w=watts, power_limit_w=700.0,
                energy_j=joules, sm_clock_mhz=1980, temperature_c=48.0 + 20 * load, throttle_reasons=0, n_processes=1,
                foreign_processes=0, sm_active_ratio=0.15 * (running > 0) + 0.5 * load,
                dram_active_ratio=0.25 * (running > 0) + 0.4 * load,
            )
        )  # fmt: skip
        server.append(
            ServerSample(
                **common, endpoint="http://127.0.0.1:1", running=float(running), waiting=float(waiting),
                kv_cache_ratio=0.9 * load, preemptions=0.0,
            )
        )  # fmt: skip
    return gpu, server


def _manifest(points: list[dict[str, Any]], requests: int, repeats: int, levels: tuple[int, ...]) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "run_id": "20260102T030405Z-made-up-beef",
        "status": "complete",
        "created": "2026-01-02T03:04:05+00:00",
        "model": "made-up-8b (nothing was measured)",
        "spec": {
            "server": {"base_url": "http://127.0.0.1:1", "model": "made-up-8b"},
            "load": {"concurrency": list(levels), "repeats": repeats},
            "price": {"usd_per_hour": 2.5},
            "slo": "ttft_mean<1s,throughput>20",
        },
        "workload": {"name": "made-up", "requests": requests, "content_hash": "abc123"},
        "server_probe": {
            "profile": "vllm",
            "reports_usage": True,
            "server": {"version": "0.0"},
            "stamp_source": "kernel",
        },
        "host": {"platform": "here", "cpu_model": "none", "cpu_count": 2, "versions": {"numpy": "2"}},
        "telemetry": {
            "gpu": {
                "source": "nvml",
                "devices": [{"uuid": "GPU-0000", "name": "Made-up GPU", "power_limit_w": 700.0}],
                "used": ["GPU-0000"],
            },
            "server": None,
            "idle": {"started_s": 0.0, "ended_s": 4.5},
            "problems": [],
        },
        "workers": 1,
        "points": points,
    }
