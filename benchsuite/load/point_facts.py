"""What the manifest says of a measured point, beside its rows: how the client fared, what the server counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchsuite.load.orders import WorkerReport
from benchsuite.telemetry.host import Histogram
from benchsuite.telemetry.server import ServerState


def client_facts(reports: list[WorkerReport]) -> dict[str, Any]:
    """How the measuring processes fared, merged, for the manifest."""
    lags = {name: Histogram() for name in ("self_lag", "loop_lag", "dispatch_lag")}
    for report in reports:
        for name, merged in lags.items():
            merged.merge(getattr(report.state, name))
    states = [report.state for report in reports]
    n_reads = sum(state.n_reads for state in states)
    merged_reads = sum(state.merged_reads for state in states)
    steals = [state.steal_s for state in states if state.steal_s is not None]
    return {
        "workers": len(reports),
        **{name: histogram.summary_us() for name, histogram in lags.items()},
        "n_reads": n_reads,
        "merged_reads": merged_reads,
        "merged_read_share": merged_reads / n_reads if n_reads else None,
        "n_chunks": sum(state.n_chunks for state in states),
        "wall_s": max((state.wall_s for state in states), default=None),
        "cpu_s": sum(state.cpu_s for state in states),
        "parse_s": sum(state.parse_s for state in states),
        "cpu_share_mean": max((s.cpu_s / s.wall_s for s in states if s.wall_s), default=None),
        "cpu_share_max_1s": max((state.cpu_max_share for state in states), default=None),
        "steal_s": max(steals, default=None),
        "clock_steps": max((state.clock_steps for state in states), default=0),
        "rss_start_bytes": _sum(state.rss_start_bytes for state in states),
        "rss_end_bytes": _sum(state.rss_end_bytes for state in states),
        "fds_start": _sum(state.fds_start for state in states),
        "fds_end": _sum(state.fds_end for state in states),
        "back_offs": sum(state.back_offs for state in states),
        "back_off_s": sum(state.back_off_s for state in states),
        "connections_opened": sum(state.connections_opened for state in states),
        "fallback_tries": sum(state.fallback_tries for state in states),
        "fallback_skips": sum(state.fallback_skips for state in states),
    }


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def server_entry(before: ServerState | None, after: ServerState | None) -> dict[str, Any]:
    """The server's own count of generated tokens over the point; None where it does not tell."""
    delta = None
    if before and after and before.generated_tokens is not None and after.generated_tokens is not None:
        delta = after.generated_tokens - before.generated_tokens
    return {"generated_tokens": delta}
