"""A run folder whose figures can be worked out by hand, made as a sweep makes one."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

from benchsuite.records import SCHEMA_VERSION, RequestRecord
from benchsuite.store.journal import Journal
from benchsuite.store.run_folder import RunFolder

# level -> seconds to the first token, between tokens
LATENCY = {2: (0.05, 0.010), 4: (0.08, 0.016), 8: (0.14, 0.030)}
N_TOKENS, N_REQUESTS = 11, 16


def make_run(
    folder: Path, *, model: str = "m", slo: str = "ttft_mean<1s,throughput>30", price: bool = True, repeats: int = 1
) -> Path:
    """Levels 2, 4, 8 in waves of that many requests: 2 and 4 meet `slo`; 8 is cheaper but has 25 tok/s per user."""
    run = RunFolder(folder)
    points = []
    for repeat in range(repeats):
        for level in LATENCY:
            point_id = f"c{level:04d}-r{repeat}"
            journal = Journal(run.journal_path(point_id, 0))
            for i in range(N_REQUESTS):
                journal.append(_row(point_id, level, repeat, i))
            journal.close()
            run.finish_point(point_id)
            points.append({"point_id": point_id, "status": "complete", "client": CLIENT})
    run.finish()
    run.write_manifest(_manifest(model, slo, price, points))
    return folder


def _row(point_id: str, level: int, repeat: int, i: int) -> RequestRecord:
    ttft_s, gap_s = LATENCY[level]
    length_s = ttft_s + gap_s * (N_TOKENS - 1)
    sent_s = 100.0 * repeat + 10.0 * level + (i // level) * length_s
    first_s, last_s = sent_s + ttft_s, sent_s + length_s
    gaps_us = array("i", [round(gap_s * 1e6)] * (N_TOKENS - 1))
    return RequestRecord(
        run_id="r", point_id=point_id, concurrency=level, repeat=repeat, request_id=f"q{i}", prompt_id=f"p{i}",
        scenario=None, worker=0, scheduled_s=sent_s, sent_s=sent_s, headers_s=first_s, first_token_s=first_s,
        first_answer_s=first_s, last_token_s=last_s, closed_s=last_s, chunk_gap_us=gaps_us, input_tokens=5,
        cached_tokens=None, output_tokens=N_TOKENS, reasoning_tokens=None, asked_output_tokens=64,
        n_chunks=N_TOKENS, n_empty_chunks=1, n_reads=N_TOKENS, merged_reads=0, self_lag_max_us=9,
        connection_reused=True, stale_retries=0, token_source="usage", stamp_source="kernel", finish_reason="stop",
        status="ok", http_status=200, error=None, response_id=None, text=None,
    )  # fmt: skip


CLIENT = {
    "self_lag": {"n": 9, "p50_us": 10.0, "p99_us": 77.5, "max_us": 400.0},
    "loop_lag": {"n": 9, "p50_us": 90.0, "p99_us": 410.0, "max_us": 900.0},
    "merged_read_share": 0.0,
    "cpu_share_mean": 0.12,
    "cpu_share_max_1s": 0.3,
    "steal_s": None,
    "n_chunks": 176,
}


def _manifest(model: str, slo: str, price: bool, points: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "run_id": "20260102T030405Z-m-beef",
        "status": "complete",
        "created": "2026-01-02T03:04:05+00:00",
        "model": model,
        "spec": {
            "server": {"base_url": "http://127.0.0.1:1", "model": model},
            "load": {"concurrency": list(LATENCY)},
            "price": {"usd_per_hour": 3.6} if price else {},
            "slo": slo,
        },
        "workload": {"name": "w", "requests": N_REQUESTS, "content_hash": "abc123"},
        "server_probe": {"profile": "vllm", "reports_usage": True, "server": {"version": "0.0"}},
        "host": {"platform": "here", "versions": {"numpy": "2", "uvloop": None}},
        "workers": 1,
        "points": points,
    }
