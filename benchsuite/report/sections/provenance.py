"""Tables of a run: its levels, their intervals, the client's fidelity, and where everything comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchsuite.report.figures import Row
from benchsuite.report.judgement import Judgement
from benchsuite.report.terminal import INTERVAL_COLUMNS, slo_cell
from benchsuite.report.words import DASH, best_tail, count, ms, number, percent, tail, usd
from benchsuite.results import Judged
from benchsuite.store import Run

CLIENT_HEAD = (
    "point", "verdict", "read lag p99 µs", "read lag max µs", "loop lag p99 µs", "merged reads", "CPU mean",
    "CPU max 1 s", "steal s", "chunks",
)  # fmt: skip


def point_head(judged: Sequence[Judged]) -> Row:
    """The columns of `point_row`."""
    return (
        "users", "runs", "ok", "failed", "wall s", "TTFT mean ms", f"TTFT {best_tail(judged)} ms", "TPOT mean ms",
        "tok/s per user", "output tok/s", "output tokens", "$ per run", "$ per 1M output", "SLO misses",
    )  # fmt: skip


def point_row(judged: Judged, stat: str) -> Row:
    """One level."""
    point, cost = judged.point, judged.cost
    return (
        str(point.concurrency),
        str(point.repeat_count),
        count(point.n_ok),
        count(point.n_failed),
        number(point.wall_s),
        ms(point.ttft_s.mean),
        ms(tail(point.ttft_s, stat)),
        ms(point.tpot_s.mean),
        number(point.throughput_paper_tok_s),
        number(point.output_tok_s),
        count(point.output_tokens),
        usd(cost.cost_usd),
        usd(cost.usd_per_1m_output_tokens),
        slo_cell(judged),
    )


def point_note(judged: Sequence[Judged]) -> str:
    """Why a column of percentiles has no value; '' where one has."""
    stat = best_tail(judged)
    if any(tail(j.point.ttft_s, stat) is not None for j in judged):
        return ""
    return f"TTFT {stat} is shown from 200 answered requests a level on: ten must lie beyond it."


def interval_rows(judgement: Judgement) -> list[Row]:
    """One level a row, its intervals and chances."""
    return [tuple(show(j, judgement.decision) for _, show in INTERVAL_COLUMNS) for j in judgement.judged]


def client_rows(run: Run, judgement: Judgement) -> list[Row]:
    """One measured point a row, with the level's verdict."""
    known = [point for point in run.manifest.get("points", []) if point.get("client")]
    return [_client_row(point, judgement) for point in sorted(known, key=lambda point: str(point["point_id"]))]


def _client_row(point: dict[str, Any], judgement: Judgement) -> Row:
    client = point["client"]
    lag, loop = client.get("self_lag") or {}, client.get("loop_lag") or {}
    verdict = judgement.clients.get(point.get("concurrency") or -1)
    return (
        point["point_id"],
        point["status"] if verdict is None or point["status"] != "complete" else verdict.verdict,
        number(lag.get("p99_us")),
        number(lag.get("max_us")),
        number(loop.get("p99_us")),
        percent(client.get("merged_read_share")),
        percent(client.get("cpu_share_mean")),
        percent(client.get("cpu_share_max_1s")),
        number(client.get("steal_s")),
        count(client.get("n_chunks")),
    )


def facts(run: Run, judgement: Judgement) -> list[tuple[str, str]]:
    """What ran, on what, at what price; missing is an en dash."""
    manifest = run.manifest
    workload, host = manifest.get("workload") or {}, manifest.get("host") or {}
    found = manifest.get("preflight") or {}
    versions = {name: version for name, version in (host.get("versions") or {}).items() if version}
    price = "none given"
    if judgement.usd_per_hour is not None:
        gpus = f"{judgement.gpus} GPU{'s' * (judgement.gpus > 1)}"
        price = f"{usd(judgement.usd_per_hour)} per GPU-hour, {gpus}"
    named = {
        "run": judgement.run_id,
        "status": manifest.get("status"),
        "measured": manifest.get("created"),
        "benchsuite": manifest.get("benchsuite"),
        "model": judgement.model,
        "server": found.get("profile"),
        **{f"server {name}": _said(value) for name, value in (found.get("server") or {}).items()},
        **{f"served {name}": _said(value) for name, value in (manifest.get("served") or {}).items()},
        "GPUs": _gpus(manifest),
        "token counts": "from the server's usage" if found.get("reports_usage") else "not reported by the server",
        "time stamps": found.get("stamp_source"),
        "prefix caches": found.get("cache_bust"),
        "workload": f"{workload.get('name')}, {count(workload.get('requests'))} requests",
        "workload hash": workload.get("content_hash"),
        "price": price,
        "SLO": judgement.slo,
        "measuring processes": manifest.get("workers"),
        "client host": f"{host.get('platform')}, {host.get('cpu_model')}, {host.get('cpu_count')} CPUs",
        "client Python": host.get("python"),
        "client versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return [(name, DASH if value is None else str(value)) for name, value in named.items()]


def _said(value: Any) -> str | None:
    """Plain values as they are, lists with spaces between, nothing for what is missing."""
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value)
    return None if value is None else str(value)


def _gpus(manifest: dict[str, Any]) -> str | None:
    """Names, driver and UUIDs of the GPUs that the telemetry read; None where it read none."""
    gpu = (manifest.get("telemetry") or {}).get("gpu")
    if not isinstance(gpu, dict):
        return None
    devices = [one for one in gpu.get("devices") or [] if isinstance(one, dict)]
    used = set(gpu.get("used") or [])
    told = [f"{one.get('name') or 'GPU'} ({one.get('uuid')})" for one in devices if not used or one.get("uuid") in used]
    driver = gpu.get("driver") or gpu.get("driver_version")
    return "; ".join(told + [f"driver {driver}"] * bool(driver) + [f"read by {gpu.get('source')}"]) or None
