"""What the server says of itself: where TTFT goes, how full it was, who answered where several did. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchsuite.analysis.attribution import Attribution
from benchsuite.analysis.server_use import ServerUse
from benchsuite.report.balance import RunBalance
from benchsuite.report.charts import Point, Series
from benchsuite.report.figures import Figure, Row, level_figure
from benchsuite.report.stack import stack_chart
from benchsuite.report.words import DASH, count, ms, number, percent
from benchsuite.results import Decision, Judged

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
    reasons = dict.fromkeys(f"{n}: {why}" for one in known for n, why in one.reasons.items() if n in _PARTS)
    note = "Means over successful requests; rest is what no source explains."
    return Figure(title, chart, head, rows, f"{note} {'; '.join(reasons)}".strip())


def _title(last: Attribution) -> str:
    parts = {name: getattr(last, f"{name}_s") for name in _PARTS}
    most = max((name for name in parts if parts[name] is not None), key=lambda name: parts[name] or 0.0)
    share = (parts[most] or 0.0) / last.ttft_s if last.ttft_s else 0.0
    said = {"queue": "waiting in the server's queue", "prefill": "prefill", "network": "network and HTTP"}
    return f"At {last.concurrency} users {share * 100:.0f}\u00a0% of TTFT is {said.get(most, most)}"


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else value_s * 1000


def use_figures(use: Sequence[ServerUse], judged: Sequence[Judged], decision: Decision) -> list[Figure]:
    """Requests that run and wait in the server, and its KV cache; what it does not tell is left out."""
    running = _series("running", use, lambda one: one.running_mean)
    waiting = _series("waiting", use, lambda one: one.waiting_mean)
    cache = _series("mean", use, lambda one: None if one.kv_cache_mean_ratio is None else 100 * one.kv_cache_mean_ratio)
    most = _series("most", use, lambda one: None if one.kv_cache_max_ratio is None else 100 * one.kv_cache_max_ratio)
    found = []
    queue = [one for one in (running, waiting) if _known(one)]
    if queue:
        queued = [one.concurrency for one in use if one.waiting_mean is not None and one.waiting_mean >= 1]
        title = (
            f"requests queue in the server from {queued[0]} users up" if queued else "no queue builds up in the server"
        )
        found.append(level_figure(title, queue, "requests in the server", judged, decision))
    if _known(cache):
        full = max((p.y, p.x) for p in (most if _known(most) else cache).points if p.y is not None)
        title = "the KV cache stays empty"
        if full[0]:
            title = f"the KV cache is {full[0]:.0f}\u00a0% full at most, at {full[1]:g} users"
        shown = [cache, *([most] if _known(most) else [])]
        found.append(level_figure(title, shown, "KV cache in use (%)", judged, decision))
    return found


def _series(name: str, use: Sequence[ServerUse], value: Callable[[ServerUse], float | None]) -> Series:
    return Series(name, tuple(Point(one.concurrency, value(one)) for one in use))


def _known(series: Series) -> bool:
    return any(p.y is not None for p in series.points)


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
