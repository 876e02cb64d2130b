"""A judged run on the terminal: the table of levels, the decision in a sentence, the warnings with their remedies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchsuite.analysis.gpu import J_PER_KWH
from benchsuite.analysis.time_series import ServerSeries, windows_of
from benchsuite.analysis.ttft_breakdown import Attribution, ServerUse, attribute
from benchsuite.report.console import safe, say
from benchsuite.report.format import (
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
    percent,
    tail,
    usd,
    warning_text,
)
from benchsuite.report.judge import Judgement, balance_lines
from benchsuite.report.live import SweepView
from benchsuite.results import Decision, EvaluatedLevel, Finding, GpuUse, PointEnergy, Spread
from benchsuite.slo import Slo

_PARTS = {
    "client": "client",
    "network": "network + HTTP",
    "queue": "server queue",
    "prefill": "server prefill",
    "rest": "rest",
    "server_itl": "server ITL",
}


def attribution_of(judgement: Judgement) -> list[Attribution]:
    """Of the points that ran to their end; empty where the manifest does not say when they ran."""
    run = judgement.facts
    rows = run.whole  # a point that was given up and measured again has rows of both attempts under one name
    series = None if run.server is None or run.server.num_rows == 0 else ServerSeries(run.server)
    return attribute(rows, windows_of(run.manifest, rows), series)


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
    console.print(_attribution_table((*heads, "before\nthe send"), rows, console))
    say(console, "TTFT is the sum from client to rest; the wait before the send is not in it", style="dim", indent=2)
    for name, words in _PARTS.items():
        if name != "server_itl":
            _tell(console, words, [(one.concurrency, one.reasons.get(name)) for one in found])
    for one in found:
        for warn in one.warnings:
            say(console, f"{one.concurrency} users: {warn.finding}; {warn.remedy}", style="yellow", indent=2)
    say(console, f"{model}: time per token (ms), and how full the server was", style="bold")
    console.print(
        _attribution_table(_USE_HEADS, [_use_row(one, two) for one, two in zip(found, use, strict=True)], console)
    )
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


def _attribution_table(heads: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> Table:
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


GPUS_ONLY = "of the GPUs alone: the host, its fans and its network are not in it"
_BUSY = 0.95
_Show = Callable[[PointEnergy], str]

_ENERGY: tuple[tuple[str, _Show], ...] = (
    ("from", lambda e: e.method or DASH),
    ("window\ns", lambda e: number(e.window_s)),
    ("mean\nW", lambda e: number(e.mean_w)),
    ("idle\nW", lambda e: number(e.idle_w)),
    ("kJ\ngross", lambda e: number(_kilo(e.gross_j))),
    ("kJ\nnet", lambda e: number(_kilo(e.net_j))),
    ("J/out\ngross", lambda e: number(e.j_per_output_token)),
    ("J/out\nnet", lambda e: number(e.net_j_per_output_token)),
    ("edges\n± %", lambda e: number(None if e.error_ratio is None else e.error_ratio * 100)),
)
_MONEY: tuple[tuple[str, _Show], ...] = (
    ("J per\ntoken", lambda e: number(e.j_per_token)),
    ("J per\nrequest", lambda e: number(e.j_per_request)),
    ("kWh", lambda e: number(e.kwh)),
    ("kWh\n* PUE", lambda e: number(None if e.wall_j is None else e.wall_j / J_PER_KWH)),
    ("elec-\ntricity", lambda e: usd(e.electricity_usd)),
    ("per 1M\noutput", lambda e: usd(e.electricity_usd_per_1m_output_tokens)),
    ("gCO2", lambda e: number(e.gco2_g)),
    ("per 1M\noutput", lambda e: number(e.gco2_g_per_1m_output_tokens)),
)
_USE: tuple[tuple[str, Callable[[GpuUse], str]], ...] = (
    ("GPUs", lambda g: str(len(g.uuids))),
    ("util", lambda g: _spread(g.util_ratio)),
    ("memory", lambda g: _spread(g.memory_ratio)),
    ("SM", lambda g: _spread(g.sm_active_ratio)),
    ("tensor", lambda g: _spread(g.tensor_active_ratio)),
    ("DRAM", lambda g: _spread(g.dram_active_ratio)),
    ("SM\nMHz", lambda g: number(None if g.sm_clock_mhz is None else g.sm_clock_mhz.mean)),
    ("limit\nW", lambda g: number(g.power_limit_w)),
    ("max\nC", lambda g: number(g.temperature_max_c)),
    ("throt-\ntled s", lambda g: _throttled(g)),
    ("read", lambda g: percent(g.coverage_ratio)),
)


def energy_rows(judged: Sequence[EvaluatedLevel]) -> list[dict[str, Any]]:
    """Plain data, a row per level: {concurrency, energy, gpu}, null where nothing measured; energy has its codes."""
    return [
        {
            "concurrency": j.point.concurrency,
            "energy": None if j.energy is None else dataclasses.asdict(j.energy),
            "gpu": None if j.gpu is None else dataclasses.asdict(j.gpu),
        }
        for j in judged
    ]


def print_energy(model: str, judged: Sequence[EvaluatedLevel], console: Console | None = None) -> None:
    """Print energy, money and use per level, as far as they are known, and what limits trust in them."""
    console = console or Console()
    console.print()
    say(console, f"{model}: energy per run of the set", style="bold")
    measured = [(j.point.concurrency, j.energy) for j in judged if j.energy is not None]
    used = [(j.point.concurrency, j.gpu) for j in judged if j.gpu is not None]
    if not measured:
        say(console, "no GPU's power was read and no --assumed-power-kw was given: energy is not known", indent=2)
    else:
        for columns in (_ENERGY, _MONEY):
            table = _energy_table(columns, measured, console)
            if len(table.columns) > 1:
                console.print(table)
        pue = number(measured[0][1].pue)
        say(console, f"{GPUS_ONLY}; PUE {pue}; a rented hour has its electricity in it", style="dim", indent=2)
    if used:
        say(
            console, f"{model}: GPU use, means over time; of several GPUs also the least and the greatest", style="bold"
        )
        console.print(_energy_table(_USE, used, console))
    if said := _busy_early(used):
        say(console, said, style="dim", indent=2)
    for warn, levels in _grouped(measured):
        say(console, f"{warn.code} {warning_text(warn, levels)}", style="yellow", indent=2)


def energy_line(judged: Sequence[EvaluatedLevel], *, in_columns: bool) -> str | None:
    """Power and energy per output token of each level, or what columns of them are of; None without energy."""
    told = [(j.point.concurrency, j.energy) for j in judged if j.energy is not None]
    if not told:
        return None
    given = ", of the power as given, not measured" if all(e.method == "constant" for _, e in told) else ""
    if in_columns:
        return f"W and J per output token are {GPUS_ONLY}{given}"
    each = [f"{level}: {number(e.mean_w)} W, {number(e.j_per_output_token)} J" for level, e in told]
    return f"energy per output token, {GPUS_ONLY}{given}: {'; '.join(each)}"


def _busy_early(used: Sequence[tuple[int, GpuUse]]) -> str | None:
    """Utilisation tells that some kernel ran, not how much of the GPU it used."""
    busy = [level for level, gpu in used if gpu.util_ratio is not None and gpu.util_ratio.mean >= _BUSY]
    if len(used) < 2 or not busy or min(busy) == max(level for level, _ in used):
        return None
    return (
        f"utilisation is {_BUSY:.0%} or more from {min(busy)} users on: that is expected, for it is the share of time "
        "in which any kernel ran; size by the SLO, SM and DRAM activity, not by it"
    )


def _grouped(measured: Sequence[tuple[int, PointEnergy]]) -> list[tuple[Finding, list[int]]]:
    groups: dict[tuple[str, str], tuple[Finding, list[int]]] = {}
    for level, energy in measured:
        for warn in energy.codes:
            groups.setdefault((warn.code, warn.remedy), (warn, []))[1].append(level)
    return list(groups.values())


def _energy_table(
    columns: Sequence[tuple[str, Callable[[Any], str]]], rows: Sequence[tuple[int, Any]], at: Console
) -> Table:
    """A row per level; columns in which nothing is known are left out."""
    cells = [[show(one) for _, show in columns] for _, one in rows]
    known = [i for i in range(len(columns)) if any(row[i] != DASH for row in cells)]
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for name in ("users", *(columns[i][0] for i in known)):
        table.add_column(name, justify="right", vertical="top", overflow="fold")
    for (level, _), row in zip(rows, cells, strict=True):
        table.add_row(str(level), *(safe(at, row[i]) for i in known))
    return table


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return DASH
    if spread.least == spread.greatest:
        return f"{spread.mean:.0%}"
    return f"{spread.mean:.0%} ({spread.least:.0%}{DASH}{spread.greatest:.0%})"


def _throttled(gpu: GpuUse) -> str:
    if gpu.throttle_s is None:
        return DASH
    return number(max(gpu.throttle_s.values(), default=0))


def _kilo(joules: float | None) -> float | None:
    return None if joules is None else joules / 1000


__all__ = ["SweepView", "final_table", "print_judgement"]

INTERVAL_COLUMNS: tuple[tuple[str, Callable[[EvaluatedLevel, Decision], str]], ...] = (
    ("users", lambda j, _: str(j.point.concurrency)),
    ("runs", lambda j, _: str(j.point.repeat_count)),
    ("wall s", lambda j, _: interval(j.intervals.get("duration_s"), number)),
    ("TTFT mean ms", lambda j, _: interval(j.intervals.get("ttft_mean_s"), number, 1000)),
    ("tok/s per user", lambda j, _: interval(j.intervals.get("output_tok_s_per_user"), number)),
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
    show: Callable[[EvaluatedLevel], str]
    wide: bool | None = None
    least: int = 0


def print_judgement(judgement: Judgement, path: Path, *, quiet: bool = False, console: Console | None = None) -> None:
    """Print a judged run and where its files are. quiet: the decision's line alone."""
    console = console or Console()
    if quiet:
        say(console, headline(judgement.decision, judgement.judged))
        return
    final_table(judgement.judged, judgement.decision, judgement.slo, console=console, title=judgement.model)
    for line in balance_lines(judgement):
        say(console, line, indent=2)
    samples = [name for name in ("gpu.parquet", "server.parquet", "serve.log") if (path / name).exists()]
    files = ", ".join(["report.html", "summary.json", "requests.parquet", *samples, "manifest.json"])
    say(console, f"files in {path}: {files}", style="dim")


def final_table(
    judged: Sequence[EvaluatedLevel],
    decision: Decision,
    slo: Slo,
    *,
    console: Console | None = None,
    title: str | None = None,
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
        _Column("wall\ns", lambda j: number(j.point.duration_s)),
        _Column("TTFT\nmean ms", lambda j: ms(j.point.ttft_s.mean)),
        _Column(f"TTFT\n{stat} ms", lambda j: ms(tail(j.point.ttft_s, stat)), wide=True),
        _Column("TPOT\nms", lambda j: ms(j.point.tpot_s.mean)),
        _Column("tok/s\n/user", lambda j: number(j.point.output_tok_s_per_user)),
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


def _interval_table(judged: Sequence[EvaluatedLevel], decision: Decision, console: Console) -> Table:
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


def slo_cell(judged: EvaluatedLevel) -> str:
    """The limits that are missed, those that are not proven with a question mark; 'none' when the SLO is met."""
    doubts = [limit_name(miss) for miss in judged.misses] + [f"{limit_name(doubt)}?" for doubt in judged.unknown]
    return ", ".join(doubts) or "none"


def _table(judged: Sequence[EvaluatedLevel], decision: Decision, console: Console) -> Table:
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
