"""Where TTFT goes and how full the server was, for people: two tables and why a cell is empty; and of a run folder."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchsuite.analysis.attribution import Attribution, attribute
from benchsuite.analysis.server_series import ServerSeries, windows_of
from benchsuite.analysis.server_use import ServerUse, server_use
from benchsuite.report.console import safe, say
from benchsuite.report.words import DASH, count, ms, number
from benchsuite.store import Run

_PARTS = {
    "client": "client",
    "network": "network + HTTP",
    "queue": "server queue",
    "prefill": "server prefill",
    "rest": "rest",
    "server_itl": "server ITL",
}


def attribution_of(run: Run) -> tuple[list[Attribution], list[ServerUse]]:
    """Both, of the points of a run that ran to their end; empty where its manifest does not say when they ran."""
    rows = run.whole  # a point that was given up and measured again has rows of both attempts under one name
    windows = windows_of(run.manifest, rows)
    series = None if run.server is None or run.server.num_rows == 0 else ServerSeries(run.server)
    return attribute(rows, windows, series), server_use(series, windows)


def print_attribution(
    model: str, found: Sequence[Attribution], use: Sequence[ServerUse], console: Console | None = None
) -> None:
    """Print both tables, and below each the reasons for what is empty."""
    console = console or Console()
    console.print()
    say(console, f"{model}: where TTFT goes (means, ms)", style="bold")
    if not found:
        say(console, "the run does not say when its points ran, so the server's samples cannot be matched", indent=2)
        return
    rows = [
        (
            count(one.concurrency), count(one.n), ms(one.ttft_s), ms(one.client_s), _ms(one.network_s),
            ms(one.queue_s), ms(one.prefill_s), _ms(one.rest_s), ms(one.dispatch_s),
        )
        for one in found
    ]  # fmt: skip
    heads = ("users", "n", "TTFT", "client", "network\n+ HTTP", "server\nqueue", "server\nprefill", "rest")
    console.print(_table((*heads, "before\nthe send"), rows, console))
    say(console, "TTFT is the sum from client to rest; the wait before the send is not in it", style="dim", indent=2)
    for name, words in _PARTS.items():
        if name != "server_itl":
            _tell(console, words, [(one.concurrency, one.reasons.get(name)) for one in found])
    for one in found:
        for warn in one.warnings:
            say(console, f"{one.concurrency} users: {warn.finding}; {warn.remedy}", style="yellow", indent=2)
    say(console, f"{model}: time per token (ms), and how full the server was", style="bold")
    console.print(_table(_USE_HEADS, [_use_row(one, two) for one, two in zip(found, use, strict=True)], console))
    _tell(console, _PARTS["server_itl"], [(one.concurrency, one.reasons.get("server_itl")) for one in found])
    for name in dict.fromkeys(name for two in use for name in two.reasons):
        _tell(console, _USE_WORDS.get(name, name), [(two.concurrency, two.reasons.get(name)) for two in use])


_USE_HEADS = (
    "users", "ITL\nserver", "ITL\nclient", "running\nmean", "max", "waiting\nmean", "max", "KV %\nmean", "max",
    "prefix\nhits %", "pre-\nempted",
)  # fmt: skip
_USE_WORDS = {"all": "server", "kv_cache_ratio": "KV", "prefix_cache": "prefix hits", "preemptions": "preempted"}


def _use_row(one: Attribution, use: ServerUse) -> tuple[str, ...]:
    return (
        count(one.concurrency), ms(one.server_itl_s), ms(one.client_itl_s),
        number(use.running_mean), number(use.running_max), number(use.waiting_mean), number(use.waiting_max),
        _hundredths(use.kv_cache_mean_ratio), _hundredths(use.kv_cache_max_ratio),
        _hundredths(use.prefix_cache_hit_ratio), number(use.preemptions),
    )  # fmt: skip


def _hundredths(ratio: float | None) -> str:
    return DASH if ratio is None else f"{ratio * 100:.1f}"


def _ms(value_s: float | None) -> str:
    """Milliseconds; a difference below half a microsecond is rounding."""
    return ms(0.0 if value_s is not None and abs(value_s) < 5e-7 else value_s)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(safe(console, cell) for cell in row))
    return table


def _tell(console: Console, what: str, reasons: Sequence[tuple[int, str | None]]) -> None:
    """One line for each reason, with the levels it holds for."""
    for reason in dict.fromkeys(reason for _, reason in reasons if reason):
        levels = [str(level) for level, own in reasons if own == reason]
        where = "" if len(levels) == len(reasons) else f" ({', '.join(levels)} users)"
        say(console, f"{what} unknown{where}: {reason}", style="dim", indent=2)
