"""What the server says of itself: where TTFT goes, how full it was, who answered where several did. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from benchsuite.analysis.attribution import Attribution
from benchsuite.analysis.server_use import ServerUse
from benchsuite.report.balance import RunBalance
from benchsuite.report.figures import Figure, Row
from benchsuite.report.stack import stack_chart
from benchsuite.report.words import DASH, count, ms, number, percent

_PARTS = ("queue", "prefill", "network", "client", "rest")
USE_HEAD = (
    "users", "ITL server ms", "ITL client ms", "running mean", "most", "waiting mean", "most", "KV cache mean", "most",
    "prefix hits", "preempted",
)  # fmt: skip
ENDPOINT_HEAD = (
    "users", "who", "requests", "share of them", "share of the work", "failed", "output tokens", "TTFT mean ms",
    "TPOT mean ms", "endpoint",
)  # fmt: skip


def ttft_figure(found: Sequence[Attribution]) -> Figure | None:
    """Mean TTFT by where it went; None where the server told nothing of it."""
    known = [one for one in found if one.queue_s is not None or one.prefill_s is not None]
    if not known:
        return None
    levels = [one.concurrency for one in known]
    parts = [(name, [_ms(getattr(one, f"{name}_s")) for one in known]) for name in _PARTS]
    shown = [(name, values) for name, values in parts if any(value is not None and value > 0 for value in values)]
    title = _title(known[-1])
    chart = stack_chart(levels, shown, title=title, y_label="mean TTFT (ms)")
    head = ("users", "n", "TTFT ms", *(f"{name} ms" for name in _PARTS), "before the send ms")
    rows = tuple(
        (
            str(one.concurrency), count(one.n), ms(one.ttft_s),
            *(ms(getattr(one, f"{name}_s")) for name in _PARTS), ms(one.dispatch_s),
        )
        for one in known
    )  # fmt: skip
    reasons = dict.fromkeys(f"{name}: {why}" for one in known for name, why in one.reasons.items())
    note = "Means over successful requests; rest is what no source explains. "
    return Figure(title, chart, head, rows, note + "; ".join(list(reasons)[:3]))


def _title(last: Attribution) -> str:
    parts = {name: getattr(last, f"{name}_s") for name in _PARTS}
    most = max((name for name in parts if parts[name] is not None), key=lambda name: parts[name] or 0.0)
    share = (parts[most] or 0.0) / last.ttft_s if last.ttft_s else 0.0
    said = {"queue": "waiting in the server's queue", "prefill": "prefill", "network": "network and HTTP"}
    return f"At {last.concurrency} users {share * 100:.0f}\u00a0% of TTFT is {said.get(most, most)}"


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else value_s * 1000


def use_rows(found: Sequence[Attribution], use: Sequence[ServerUse]) -> list[Row]:
    """A row per level of which the server was sampled."""
    by_level = {one.concurrency: one for one in found}
    rows: list[Row] = []
    for one in use:
        if not one.n_samples:
            continue
        own = by_level.get(one.concurrency)
        rows.append(
            (
                str(one.concurrency),
                ms(None if own is None else own.server_itl_s),
                ms(None if own is None else own.client_itl_s),
                number(one.running_mean),
                number(one.running_max),
                number(one.waiting_mean),
                number(one.waiting_max),
                percent(one.kv_cache_mean_ratio),
                percent(one.kv_cache_max_ratio),
                percent(one.prefix_cache_hit_ratio),
                number(one.preemptions),
            )
        )
    return rows


def endpoint_rows(balance: RunBalance | None) -> list[Row]:
    """A row per level and endpoint, where there is more than one."""
    if balance is None or all(len(level.parts) < 2 for level in balance.levels.values()):
        return []
    return [
        (
            str(part.concurrency),
            "own" if part.role == "own" else "API",
            count(part.requests),
            percent(part.request_share),
            percent(part.busy_share),
            count(part.failures),
            count(part.output_tokens),
            ms(part.ttft_s),
            ms(part.tpot_s),
            part.endpoint or DASH,
        )
        for level in balance.levels.values()
        for part in level.parts
    ]
