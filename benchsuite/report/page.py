"""report.html: one self-contained file, from a run folder. No scripts, and nothing is fetched when it is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchsuite.report.figures import distribution_figures, level_figures, picture
from benchsuite.report.judgement import Judgement, judge_run, whole_points
from benchsuite.report.svg import CSS
from benchsuite.report.terminal import INTERVAL_COLUMNS, slo_cell
from benchsuite.report.words import (
    DASH,
    asides,
    best_tail,
    count,
    grouped_warnings,
    has_intervals,
    headline,
    ms,
    number,
    percent,
    tail,
    usd,
)
from benchsuite.results import Judged
from benchsuite.store import REPORT, Run, read_run, write_bytes

Row = tuple[str, ...]


def write_report(run_dir: Path) -> Path:
    """Write report.html into the run folder, and return its path. Raises PointsError or StoreError."""
    path = run_dir / REPORT
    write_bytes(path, render(read_run(run_dir)).encode())
    return path


def render(run: Run) -> str:
    """The page of a run."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("benchsuite.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals["dash"] = DASH
    return environment.get_template("report.html.j2").render(_content(run, judge_run(run)))


def _content(run: Run, judgement: Judgement) -> dict[str, Any]:
    judged, decision = judgement.judged, judgement.decision
    requests = whole_points(run)
    return {
        "css": CSS,
        "run_id": judgement.run_id,
        "model": judgement.model or "unnamed model",
        "slo": str(judgement.slo),
        "feasible": decision.kind == "optimum",
        "headline": _sentence(headline(decision, judged)),
        "asides": [_sentence(text) for text in asides(decision, judged)],
        "status": run.manifest.get("status"),
        "picture": picture(judged, decision),
        "figures": level_figures(judged, decision, judgement.slo),
        "distributions": distribution_figures(requests, judgement.slo) if judged else [],
        "point_head": _point_head(judged),
        "points": [(_point_row(j, best_tail(judged)), j.meets_slo, _chosen(j, judgement)) for j in judged],
        "warnings": [(_sentence(w.finding), w.code, _sentence(w.remedy), at) for w, at in grouped_warnings(judged)],
        "interval_head": [head for head, _ in INTERVAL_COLUMNS],
        "intervals": [_interval_row(j, judgement) for j in judged] if has_intervals(judged) else [],
        "client_head": _CLIENT_HEAD,
        "client": [_client_row(point) for point in run.manifest.get("points", []) if point.get("client")],
        "facts": _facts(run, judgement),
        "spec": json.dumps(run.manifest.get("spec"), indent=1, ensure_ascii=False),
    }


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _chosen(judged: Judged, judgement: Judgement) -> bool:
    return judgement.decision.kind == "optimum" and judged is judgement.decision.choice


def _interval_row(judged: Judged, judgement: Judgement) -> tuple[Row, bool, bool]:
    cells = tuple(show(judged, judgement.decision) for _, show in INTERVAL_COLUMNS)
    return cells, judged.meets_slo, _chosen(judged, judgement)


def _point_head(judged: Sequence[Judged]) -> Row:
    return (
        "users", "runs", "ok", "failed", "wall s", "TTFT mean ms", f"TTFT {best_tail(judged)} ms", "TPOT mean ms",
        "tok/s per user", "output tok/s", "output tokens", "$ per run", "$ per 1M output", "SLO misses",
    )  # fmt: skip


def _point_row(judged: Judged, stat: str) -> Row:
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


_CLIENT_HEAD = (
    "point", "status", "read lag p99 µs", "read lag max µs", "loop lag p99 µs", "merged reads", "CPU mean",
    "CPU max 1 s", "steal s", "chunks",
)  # fmt: skip


def _client_row(point: dict[str, Any]) -> Row:
    client = point["client"]
    lag, loop = client.get("self_lag") or {}, client.get("loop_lag") or {}
    return (
        point["point_id"],
        point["status"],
        number(lag.get("p99_us")),
        number(lag.get("max_us")),
        number(loop.get("p99_us")),
        percent(client.get("merged_read_share")),
        percent(client.get("cpu_share_mean")),
        percent(client.get("cpu_share_max_1s")),
        number(client.get("steal_s")),
        count(client.get("n_chunks")),
    )


def _facts(run: Run, judgement: Judgement) -> list[tuple[str, str]]:
    manifest = run.manifest
    workload, host = manifest.get("workload") or {}, manifest.get("host") or {}
    found = manifest.get("preflight") or {}
    versions = {name: version for name, version in (host.get("versions") or {}).items() if version}
    price = "none given"
    if judgement.usd_per_hour is not None:
        gpus = f"{judgement.gpus} GPU{'s' * (judgement.gpus > 1)}"
        price = f"{usd(judgement.usd_per_hour)} per GPU-hour, {gpus}"
    facts = {
        "run": judgement.run_id,
        "status": manifest.get("status"),
        "measured": manifest.get("created"),
        "model": judgement.model,
        "server": found.get("profile"),
        **{f"server {name}": value for name, value in (found.get("server") or {}).items()},
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
    return [(name, DASH if value is None else str(value)) for name, value in facts.items()]
