"""A judged run on the terminal: the table of levels, the decision in a sentence, the warnings with their remedies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchsuite.report.balance import balance_lines
from benchsuite.report.console import safe, say
from benchsuite.report.energy import energy_line
from benchsuite.report.judgement import Judgement
from benchsuite.report.live import SweepView
from benchsuite.report.words import (
    DASH,
    asides,
    best_tail,
    chance,
    count,
    grouped_warnings,
    has_intervals,
    headline,
    interval,
    limit_name,
    ms,
    number,
    tail,
    usd,
    warning_text,
)
from benchsuite.results import Decision, Judged
from benchsuite.slo import Slo

__all__ = ["SweepView", "final_table", "print_judgement"]

INTERVAL_COLUMNS: tuple[tuple[str, Callable[[Judged, Decision], str]], ...] = (
    ("users", lambda j, _: str(j.point.concurrency)),
    ("runs", lambda j, _: str(j.point.repeat_count)),
    ("wall s", lambda j, _: interval(j.intervals.get("wall_s"), number)),
    ("TTFT mean ms", lambda j, _: interval(j.intervals.get("ttft_mean_s"), number, 1000)),
    ("tok/s per user", lambda j, _: interval(j.intervals.get("throughput_paper_tok_s"), number)),
    ("$/1M output", lambda j, _: interval(j.intervals.get("usd_per_1m_output_tokens"), number)),
    ("SLO", lambda j, _: j.slo_verdict),
    ("P met", lambda j, _: chance(j.p_met)),
    ("P opt", lambda j, decision: chance(decision.p_by_level.get(j.point.concurrency))),
)
_WIDE = 100  # columns of terminal; below, some of the table is left out
_WIDEST = 120  # with energy 20 more


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table. wide: only where there is room (True), only where there is not (False).

    least: columns of terminal from which on it is shown.
    """

    head: str
    show: Callable[[Judged], str]
    wide: bool | None = None
    least: int = 0


def print_judgement(judgement: Judgement, path: Path, *, quiet: bool = False, console: Console | None = None) -> None:
    """Print a judged run and where its files are. quiet: the decision's line alone."""
    console = console or Console()
    if quiet:
        say(console, headline(judgement.decision, judgement.judged))
        return
    final_table(judgement.judged, judgement.decision, judgement.slo, console=console, title=judgement.model)
    for line in balance_lines(judgement.balance) if judgement.balance is not None else ():
        say(console, line, indent=2)
    samples = [name for name in ("gpu.parquet", "server.parquet", "serve.log") if (path / name).exists()]
    files = ", ".join(["report.html", "summary.json", "requests.parquet", *samples, "manifest.json"])
    say(console, f"files in {path}: {files}", style="dim")


def final_table(
    judged: Sequence[Judged], decision: Decision, slo: Slo, *, console: Console | None = None, title: str | None = None
) -> None:
    """Print one row per level, the decision, and every warning.

    Times in milliseconds. A p99 is shown where n >= 1000, else the p95 where n >= 200, else an en dash.
    """
    console = console or Console()
    console.print()
    if title:
        say(console, f"{title}    SLO: {slo}", style="bold")
    if judged:
        console.print(_table(judged, decision, console))
    say(console, headline(decision, judged), style="bold green" if decision.kind == "optimum" else "bold red", indent=2)
    for text in (*asides(decision, judged), energy_line(judged, in_columns=console.width >= _WIDE)):
        if text:
            say(console, text, indent=2)
    if has_intervals(judged):
        console.print(_interval_table(judged, decision, console))
    for warn, levels in grouped_warnings(judged):
        say(console, f"warning {warn.code} {warning_text(warn, levels)}", style="yellow", indent=2)


def _columns(stat: str, with_energy: bool) -> tuple[_Column, ...]:
    energy = (
        _Column("W", lambda j: number(j.energy.mean_w if j.energy else None), wide=True),
        _Column("J/out\ntoken", lambda j: number(j.energy.j_per_output_token if j.energy else None), wide=True),
    )
    widest = _WIDEST + 20 * with_energy
    return (
        _Column("users", lambda j: str(j.point.concurrency)),
        _Column("ok/\nfailed", lambda j: f"{j.point.n_ok}/{DASH if j.point.n_failed is None else j.point.n_failed}"),
        _Column("wall\ns", lambda j: number(j.point.wall_s)),
        _Column("TTFT\nmean ms", lambda j: ms(j.point.ttft_s.mean)),
        _Column(f"TTFT\n{stat} ms", lambda j: ms(tail(j.point.ttft_s, stat)), wide=True),
        _Column("TPOT\nms", lambda j: ms(j.point.tpot_s.mean)),
        _Column("tok/s\n/user", lambda j: number(j.point.throughput_paper_tok_s)),
        _Column("output\ntok/s", lambda j: number(j.point.output_tok_s)),
        _Column("output\ntokens", lambda j: count(j.point.output_tokens), wide=True),
        _Column("E2E\nmean s", lambda j: number(j.point.e2e_s.mean), least=widest),
        _Column("req/s", lambda j: number(j.point.request_per_s), least=widest),
        _Column("$ per\nrun", lambda j: usd(j.cost.cost_usd)),
        _Column("$/1M\noutput", lambda j: usd(j.cost.usd_per_1m_output_tokens)),
        *(energy if with_energy else ()),
        _Column("SLO\nmet", lambda j: "yes" if j.meets_slo else "no" if j.misses else "?", wide=False),
        _Column("SLO\nmisses", slo_cell, wide=True),
    )


def _interval_table(judged: Sequence[Judged], decision: Decision, console: Console) -> Table:
    """What the runs' spread leaves open: 95 % intervals, the SLO's verdict, how often each level is the optimum."""
    table = Table(
        title="95 % intervals over runs", title_justify="left", box=None, padding=(0, 1), pad_edge=False,
        header_style="bold",
    )  # fmt: skip
    columns = [one for one in INTERVAL_COLUMNS if console.width >= _WIDE or one[0] not in ("wall s", "runs")]
    for head, _ in columns:
        # a narrow terminal: long heads on two lines, so that the intervals keep their room
        words = head.rsplit(" ", 1)
        table.add_column("\n".join(words) if len(head) > 4 else head, justify="right", no_wrap=True, vertical="top")
    for one in judged:
        cells = [show(one, decision).replace(" [", "\n[") for _, show in columns]  # the interval below its value
        table.add_row(*(Text("\n".join(safe(console, line) for line in cell.split("\n"))) for cell in cells))
    return table


def slo_cell(judged: Judged) -> str:
    """The limits that are missed, those that are not proven with a question mark; 'none' when the SLO is met."""
    doubts = [limit_name(miss) for miss in judged.misses] + [f"{limit_name(doubt)}?" for doubt in judged.unknown]
    return ", ".join(doubts) or "none"


def _table(judged: Sequence[Judged], decision: Decision, console: Console) -> Table:
    with_energy = any(j.energy is not None for j in judged)
    columns = [
        c
        for c in _columns(best_tail(judged), with_energy)
        if console.width >= c.least and (c.wide is None or c.wide == (console.width >= _WIDE))
    ]
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for column in columns:
        last = column is columns[-1]
        table.add_column(
            column.head, justify="left" if last else "right", no_wrap=not last, vertical="top", overflow="fold"
        )
    for one in judged:
        chosen = decision.kind == "optimum" and one is decision.choice
        style = "bold green" if chosen else "" if one.meets_slo else "dim"
        cells = [safe(console, column.show(one)) for column in columns]
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table
