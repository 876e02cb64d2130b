"""Run folders for tests, written as a sweep writes them: through the journals and logs of the store.

A server of some `latency` answers a set of requests per level and repeat in a closed loop. Without `noise` every figure
can be worked out by hand; with it, the same seed gives the same rows on every machine.
"""

from __future__ import annotations

import math
import random
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.level import Level
from benchsuite.records import SCHEMA_VERSION, GpuSample, RequestRecord, ServerSample
from benchsuite.store.files import GPU, SERVER
from benchsuite.store.journal import Journal
from benchsuite.store.run_folder import RunFolder

# level -> seconds to the first token, seconds between tokens
LATENCY = {2: (0.05, 0.010), 4: (0.08, 0.016), 8: (0.14, 0.030)}
BASE_URL = "http://127.0.0.1:1"
SLO = "ttft_mean<1s,output_throughput_per_user>30"
CLIENT = {
    "read_lag": {"n": 9, "p50_us": 10.0, "p99_us": 77.5, "max_us": 400.0},
    "loop_lag": {"n": 9, "p50_us": 90.0, "p99_us": 410.0, "max_us": 900.0},
    "merged_read_share": 0.0,
    "cpu_share_mean": 0.12,
    "cpu_share_max_1s": 0.3,
    "steal_s": None,
    "n_chunks": 176,
}
IDLE_W, FULL_W = 110.0, 640.0
SAMPLE_S = 0.25  # between two samples of a GPU or a server


def run_folder(
    path: Path,
    *,
    levels: Sequence[int] = tuple(LATENCY),
    repeats: int = 1,
    requests: int = 16,
    latency: Mapping[int, tuple[float, float]] = LATENCY,
    tokens: int = 11,
    slots: int | None = None,
    noise: float = 0.0,
    faults: Mapping[str, int] | None = None,
    row: Callable[[RequestRecord], RequestRecord] | None = None,
    gpu: bool | Callable[[list[GpuSample]], list[GpuSample]] = False,
    server: bool | Callable[[list[ServerSample]], list[ServerSample]] = False,
    model: str = "m",
    slo: str | None = SLO,
    usd_per_hour: float | None = 3.6,
    client: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Write a run folder and return its path.

    tokens: of every answer; with noise their median. slots: requests that the server answers at once, the others
    wait. noise: relative standard deviation of every time, and a third of it between repeats. faults: status -> how
    many of each point's requests end with it. row: what to make of each row. gpu, server: with samples, or with what a
    function makes of them. client: facts of the client to merge into every point's. spec: tables to merge into the
    sweep's; manifest: keys to replace.
    """
    rng = random.Random(seed)
    run, measured, points, start_s = RunFolder(path), [], [], 5.0
    for repeat in range(repeats):
        for level in levels:
            point_id = f"c{level:04d}-r{repeat}"
            speed = math.exp(noise / 3 * rng.gauss(0, 1)) if noise else 1.0
            times = _Times(*latency[level], tokens=tokens, speed=speed, noise=noise, rng=rng)
            rows = _point(point_id, level, repeat, requests, start_s, slots or level, times, dict(faults or {}))
            journal = Journal(run.journal_path(point_id, 0))
            for one in rows:
                journal.append(row(one) if row else one)
            journal.close()
            run.finish_point(point_id)
            end_s = max(one.closed_s or one.scheduled_s for one in rows)
            points.append(_entry(point_id, level, repeat, start_s, end_s, client or {}))
            measured += rows
            start_s = end_s + 4.0
    for name, wanted, samples in ((GPU, gpu, _gpu_samples), (SERVER, server, _server_samples)):
        if wanted:
            log, made = run.sample_log(name), samples(measured, start_s, slots or max(levels))
            log.append(wanted(made) if callable(wanted) else made)
            log.close()
    run.finish()
    tree = _spec(levels, repeats, requests, model, slo, usd_per_hour, spec or {})
    facts = {"model": model, "workload": {"name": "w", "requests": requests, "content_hash": "abc123"}}
    _finish(run, tree, points, gpu=bool(gpu), more=facts | dict(manifest or {}))
    return path


def _finish(
    run: RunFolder, spec: Mapping[str, Any], points: list[dict[str, Any]], *, gpu: bool, more: Mapping[str, Any]
) -> None:
    run.write_manifest(
        {
            "schema": SCHEMA_VERSION,
            "run_id": "20260102T030405Z-m-beef",
            "status": "complete",
            "created": "2026-01-02T03:04:05+00:00",
            "model": "m",
            "spec": spec,
            "workload": {"name": "w", "requests": 0, "content_hash": "abc123"},
            "server_probe": {"profile": "vllm", "reports_usage": True, "server": {"version": "0.0"}},
            "host": {"platform": "here", "versions": {"numpy": "2", "uvloop": None}},
            **({"telemetry": _TELEMETRY} if gpu else {}),
            "workers": 1,
            "points": points,
            **more,
        }
    )
    run.release()


def rate_folder(
    path: Path,
    *,
    rates: Sequence[float] = (2.0, 4.0, 12.0),
    repeats: int = 1,
    capacity_per_s: float = 10.0,
    window_s: float = 60.0,
    warmup_s: float = 10.0,
    tail_s: float = 5.0,
    row: Callable[[RequestRecord], RequestRecord] | None = None,
    gpu: bool = False,
    slo: str | None = "ttft_p95<1s",
    usd_per_hour: float | None = 3.6,
    client: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """A run of an open loop: Poisson arrivals at one server with exponential times (M/M/1), before, in and after the
    window of each point. What is in the system 200 s after the last arrival of a point fails as `timeout`."""
    run, measured, points, start_s = RunFolder(path), [], [], 5.0
    for repeat in range(repeats):
        for rate in rates:
            level = Level(rate, "rate")
            rng, point_id = np.random.default_rng((seed, repeat, round(1000 * rate))), level.point_id(repeat)
            rows = rate_rows(
                level, repeat, start_s, capacity_per_s=capacity_per_s, phases_s=(warmup_s, window_s, tail_s), rng=rng
            )
            journal = Journal(run.journal_path(point_id, 0))
            for one in rows:
                one = one._replace(chunk_gap_us=array("i", one.chunk_gap_us))
                journal.append(row(one) if row else one)
            journal.close()
            run.finish_point(point_id)
            end_s = max(one.closed_s or one.scheduled_s for one in rows)
            entry = _entry(point_id, 0, repeat, start_s, end_s, client or {})
            points.append(entry | {"concurrency": None, "rate_per_s": rate})
            measured += rows
            start_s = end_s + 4.0
    if gpu:
        log = run.sample_log(GPU)
        log.append(_gpu_samples(measured, start_s, 8))
        log.close()
    run.finish()
    tree = _spec((), repeats, 0, "m", slo, usd_per_hour, spec or {})
    tree["load"] = {"rate": list(rates), "repeats": repeats} | {key: v for key, v in tree["load"].items() if v}
    _finish(run, tree, points, gpu=gpu, more=manifest or {})
    return path


# level, phase, verdict, requests of each probe of a search, and P(met), P(good) of each level at its end
PROBES = ((8, "bracket", "kept", 60), (16, "bracket", "missed", 80), (10, "close", "kept", 60),
          (12, "confirm", "undecided", 160), (10, "confirm", "kept", 160), (10, "confirm", "kept", 160))  # fmt: skip
OF_LEVELS = [[8.0, 1.0, 0.12], [10.0, 0.998, 0.973], [12.0, 0.31, 0.3], [16.0, 0.0, 0.0]]


def find_folder(path: Path, *, manifest: Mapping[str, Any] | None = None) -> Path:
    """A search for the most users with more than 40 tok/s each, of a server that gives each a token every
    5 ms + 2 ms x users: it keeps the limit up to 10."""
    run, rng, points, start_s, hour_usd = RunFolder(path), random.Random(7), [], 5.0, 3.6
    for i, (level, phase, verdict, requests) in enumerate(PROBES):
        gap_s, repeat = 0.005 + 0.002 * level, sum(one[0] == level for one in PROBES[:i])
        if level == 12:
            gap_s = 0.0252
        times = _Times(0.05, gap_s, tokens=11, speed=1.0, noise=0.02, rng=rng)
        point_id = f"f{i + 1:02d}-{Level(level).point_id(repeat)}"
        rows = _point(point_id, level, repeat, requests, start_s, level, times, {})
        window_s = sorted(row.closed_s or 0.0 for row in rows)[level], max(row.sent_s or 0.0 for row in rows)
        journal = Journal(run.journal_path(point_id, 0))
        for row in rows:
            journal.append(row._replace(window_start_s=window_s[0], window_end_s=window_s[1] + 1e-6))
        journal.close()
        run.finish_point(point_id)
        end_s = max(row.closed_s or 0.0 for row in rows)
        entry = _entry(point_id, level, repeat, start_s, end_s, {})
        per_s = level * 11 / (0.05 + 10 * gap_s)
        margins = {"decode_throughput": [math.log(1 / gap_s / 40), 0.004], "ttft_p95": [math.log(0.5 / 0.052), 0.01]}
        entry["probe"] = {
            "level": float(level), "phase": phase, "n_requests": requests - 2 * level, "seconds": end_s - start_s,
            "saturated": False, "failed": False, "margins": margins, "shares": {}, "ln_x": [math.log(per_s), 0.004],
            "verdict": verdict,
        }  # fmt: skip
        points.append(entry)
        start_s = end_s
    run.finish()
    seconds, x = start_s - 5.0, 10 * 11 / 0.3
    usd = hour_usd / 3600 / x
    answer = {
        "level": 10.0, "throughput": [x, 0.98 * x, 1.02 * x], "usd": [usd, 0.98 * usd, 1.02 * usd], "p_met": 0.998,
        "p_good": 0.973, "binding": "decode_throughput", "bracket": [10.0, 12.0], "seconds": seconds, "more": 99,
        "levels": OF_LEVELS,
    }  # fmt: skip
    end = {"reason": "confident", "answer": answer, "probes": len(PROBES), "seconds": seconds, "spent_usd": 0.031}
    search = {"asked": {"kind": "concurrency", "slack": 0.05}, "per": "output_token", "end": end}
    tree = _spec((8,), 1, 0, "m", "decode_throughput>40,ttft_p95<500ms", hour_usd, {"find": {}})
    del tree["load"]
    planned = [point["point_id"] for point in points]
    _finish(run, tree, points, gpu=False, more={"search": search, "planned_points": planned, **(manifest or {})})
    return path


def rate_rows(
    level: Level, repeat: int, start_s: float, *, capacity_per_s: float, phases_s: tuple[float, float, float],
    rng: np.random.Generator,
) -> list[RequestRecord]:  # fmt: skip
    """The rows of one point of a rate: a first token as soon as the server is free, ten more until its end."""
    warmup_s, window_s, _ = phases_s
    due_s = start_s + np.cumsum(rng.exponential(1 / level.number, round(3 * level.number * sum(phases_s)) + 50))
    due_s, took_s, free_s, rows = due_s[due_s < start_s + sum(phases_s)], rng.exponential, start_s, []
    for i, at_s in enumerate(due_s.tolist()):
        begin_s = max(at_s, free_s)
        free_s = begin_s + float(took_s(1 / capacity_per_s))
        gap_s = (free_s - begin_s) / 10
        rows.append(
            request_row(
                at_s + 1e-5, begin_s - at_s, [gap_s] * 10, scheduled_s=at_s, point_id=level.point_id(repeat),
                concurrency=None, rate_per_s=level.number, repeat=repeat, request_id=f"q{i}", prompt_id=f"p{i}",
                window_start_s=start_s + warmup_s, window_end_s=start_s + warmup_s + window_s, endpoint=BASE_URL,
                asked_output_tokens=64, read_lag_max_us=9,
            )
        )  # fmt: skip
    return rows


class _Times:
    """How long the parts of an answer take."""

    def __init__(
        self, ttft_s: float, gap_s: float, *, tokens: int, speed: float, noise: float, rng: random.Random
    ) -> None:
        self._ttft_s, self._gap_s, self._tokens = ttft_s * speed, gap_s * speed, tokens
        self._noise, self._rng = noise, rng

    def ttft_s(self) -> float:
        return self._ttft_s * self._factor()

    def gaps_us(self) -> array[int]:
        tokens = max(2, round(self._tokens * self._factor()))
        return array("i", [round(1e6 * self._gap_s * self._factor()) for _ in range(tokens - 1)])

    def _factor(self) -> float:
        return math.exp(self._noise * self._rng.gauss(0, 1)) if self._noise else 1.0


def _point(
    point_id: str,
    level: int,
    repeat: int,
    requests: int,
    start_s: float,
    slots: int,
    times: _Times,
    faults: dict[str, int],
) -> list[RequestRecord]:
    """Every user sends its next request when its last one has ended; what finds no slot waits in the server."""
    statuses = [status for status, count in faults.items() for _ in range(count)]
    users, free, rows = [start_s] * level, [start_s] * slots, []
    for i in range(requests):
        user = users.index(min(users))
        sent_s = users[user]
        slot = free.index(min(free))
        queue_s = max(0.0, free[slot] - sent_s)
        prefill_s, gaps_us = times.ttft_s(), times.gaps_us()
        first_s = sent_s + queue_s + prefill_s
        last_s = first_s + sum(gaps_us) / 1e6
        status = statuses[i] if i < len(statuses) else "ok"
        tokens = len(gaps_us) + 1
        row = request_row(
            sent_s, None, point_id=point_id, concurrency=level, repeat=repeat, request_id=f"q{i}", prompt_id=f"p{i}",
            headers_s=first_s, first_token_s=first_s, first_answer_s=first_s, last_token_s=last_s, closed_s=last_s,
            chunk_gap_us=gaps_us, input_tokens=5, output_tokens=tokens, asked_output_tokens=64, n_chunks=tokens,
            n_empty_chunks=1, n_reads=tokens, read_lag_max_us=9, endpoint=BASE_URL, server_queue_s=queue_s,
            server_prefill_s=0.9 * prefill_s,
        )  # fmt: skip
        rows.append(row if status == "ok" else _failed(row, status))
        users[user] = free[slot] = rows[-1].closed_s or sent_s
    return rows


def request_row(
    sent_s: float | None, ttft_s: float | None, gaps_s: Sequence[float] = (), tail_s: float = 0.0, **other: Any
) -> RequestRecord:
    """One request that streams a token per chunk, without a first token if `ttft_s` is None; `other`: any field."""
    fields: dict[str, Any] = {
        "run_id": "r", "point_id": "p", "concurrency": 1, "repeat": 0, "request_id": "q", "prompt_id": "q",
        "scenario": None, "worker": 0, "scheduled_s": sent_s or 0.0, "sent_s": sent_s, "headers_s": None,
        "first_token_s": None, "first_answer_s": None, "last_token_s": None, "closed_s": None, "chunk_gap_us": [],
        "input_tokens": 10, "cached_tokens": None, "output_tokens": 1, "reasoning_tokens": None,
        "asked_output_tokens": None, "n_chunks": 1, "n_empty_chunks": 0, "n_reads": 1, "merged_reads": 0,
        "read_lag_max_us": None, "connection_reused": True, "stale_retries": 0, "token_source": "usage",
        "stamp_source": "kernel", "finish_reason": "stop", "status": "ok", "http_status": 200, "error": None,
        "response_id": None, "text": None,
    }  # fmt: skip
    if sent_s is not None and ttft_s is not None:
        tokens, first_s = len(gaps_s) + 1, sent_s + ttft_s
        last_s = first_s + sum(gaps_s)
        fields |= dict.fromkeys(("output_tokens", "n_chunks"), tokens)
        fields |= dict.fromkeys(("first_token_s", "first_answer_s"), first_s)
        fields |= {"last_token_s": last_s, "closed_s": last_s + tail_s}
        fields["chunk_gap_us"] = [round(gap_s * 1e6) for gap_s in gaps_s]
    return RequestRecord(**(fields | other))


def request_frame(*rows: RequestRecord) -> pd.DataFrame:
    """Rows as a DataFrame."""
    return pd.DataFrame(list(rows), columns=list(RequestRecord._fields))


def _failed(row: RequestRecord, status: str) -> RequestRecord:
    """The same request as it looks when it failed: before its first token, or (truncated) after its last."""
    row = row._replace(status=status, finish_reason=None, error=f"{status} of the test")  # type: ignore[arg-type]
    if status == "truncated":
        return row
    return row._replace(
        headers_s=None, first_token_s=None, first_answer_s=None, last_token_s=None, chunk_gap_us=array("i"),
        output_tokens=None, token_source=None, n_chunks=0, n_empty_chunks=0, n_reads=0, server_queue_s=None,
        server_prefill_s=None, http_status=503 if status == "http_error" else None,
    )  # fmt: skip


def _entry(
    point_id: str, level: int, repeat: int, start_s: float, end_s: float, client: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "point_id": point_id, "concurrency": level, "repeat": repeat, "status": "complete",
        "client": {**CLIENT, **client}, "started_s": start_s - 0.5, "ended_s": end_s + 0.5,
    }  # fmt: skip


def _spec(
    levels: Sequence[int],
    repeats: int,
    requests: int,
    model: str,
    slo: str | None,
    usd_per_hour: float | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "server": {"base_url": BASE_URL, "model": model},
        "load": {"concurrency": list(levels), "repeats": repeats},
        "price": {} if usd_per_hour is None else {"usd_per_hour": usd_per_hour},
    }
    if slo is not None:
        tree["slo"] = slo
    for key, value in more.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, Mapping) else value
    return tree


def _flight(rows: list[RequestRecord], end_s: float) -> list[tuple[float, int]]:
    """How many requests are open, at every time of a sample."""
    sent = sorted(row.sent_s or 0.0 for row in rows)
    closed = sorted(row.closed_s or 0.0 for row in rows)
    at = [i * SAMPLE_S for i in range(int(end_s / SAMPLE_S) + 1)]
    return [(at_s, bisect_right(sent, at_s) - bisect_right(closed, at_s)) for at_s in at]


def _gpu_samples(rows: list[RequestRecord], end_s: float, slots: int) -> list[GpuSample]:
    samples, energy_j = [], 0.0
    for at_s, flight in _flight(rows, end_s):
        load = min(flight, slots) / slots
        power_w = IDLE_W + (FULL_W - IDLE_W) * (0.35 * (flight > 0) + 0.65 * load)
        energy_j += power_w * SAMPLE_S
        samples.append(
            GpuSample(
                at_s, 1.8e9 + at_s, "nvml", "GPU-0000", util_ratio=(0.93 + 0.07 * load) * (flight > 0),
                memory_used_bytes=72_000_000_000, memory_total_bytes=80_000_000_000, power_w=power_w,
                power_limit_w=700.0, energy_j=energy_j, sm_clock_mhz=1980, temperature_c=48.0 + 20 * load,
                throttle_reasons=0, n_processes=1, foreign_processes=0,
                sm_active_ratio=0.15 * (flight > 0) + 0.5 * load, dram_active_ratio=0.25 * (flight > 0) + 0.4 * load,
            )
        )  # fmt: skip
    return samples


def _server_samples(rows: list[RequestRecord], end_s: float, slots: int) -> list[ServerSample]:
    done = sorted((row for row in rows if row.status == "ok"), key=lambda row: row.closed_s or 0.0)
    closed_s = [row.closed_s or 0.0 for row in done]
    # what each request adds to a sum and to its count; half a millisecond of its time is on the way either way
    added = {
        "queue_sum_s": [row.server_queue_s for row in done],
        "prefill_sum_s": [row.server_prefill_s for row in done],
        "ttft_sum_s": [row.first_token_s - row.sent_s - 0.001 for row in done],
        "e2e_sum_s": [row.closed_s - row.sent_s - 0.001 for row in done],
        "itl_sum_s": [sum(row.chunk_gap_us) / 1e6 for row in done],
        "itl_count": [len(row.chunk_gap_us) for row in done],
        "generated_tokens": [row.output_tokens for row in done],
    }
    counters = {name: [0.0, *accumulate(values)] for name, values in added.items()}
    samples = []
    for at_s, flight in _flight(rows, end_s):
        n = bisect_right(closed_s, at_s)
        counted = dict.fromkeys(("queue_count", "prefill_count", "ttft_count", "e2e_count", "requests_done"), float(n))
        counted |= {name: float(values[n]) for name, values in counters.items()}
        samples.append(
            ServerSample(
                at_s, 1.8e9 + at_s, BASE_URL, running=float(min(flight, slots)), waiting=float(max(flight - slots, 0)),
                kv_cache_ratio=0.9 * min(flight, slots) / slots, preemptions=0.0,
                prefix_cache_hits=2.0 * n, prefix_cache_queries=5.0 * n, prompt_tokens=5.0 * n, **counted,
            )
        )  # fmt: skip
    return samples


_TELEMETRY = {
    "gpu": {
        "source": "nvml",
        "devices": [{"uuid": "GPU-0000", "name": "Made-up GPU", "power_limit_w": 700.0}],
        "used": ["GPU-0000"],
    },
    "server": None,
    "idle": {"started_s": 0.0, "ended_s": 4.5},
    "problems": [],
}
