"""A judged run on the terminal: the table of levels, the decision in a sentence, the warnings with their remedies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchsuite.analysis.gpu import J_PER_KWH
from benchsuite.analysis.time_series import ServerSeries, windows_of
from benchsuite.analysis.ttft_breakdown import Attribution, ServerUse, attribute
from benchsuite.report.console import say, table
from benchsuite.report.format import (
    DASH,
    asides,
    best_tail,
    cell,
    chance,
    count,
    grouped_warnings,
    has_intervals,
    head,
    headline,
    interval_cell,
    ms,
    number,
    percent,
    slo_cell,
    usd,
    warning_text,
    with_goodput,
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
    heads = ("concur-\nrency", "n", "TTFT", "client", "network\n+ HTTP", "server\nqueue", "server\nprefill", "rest")
    console.print(table(console, (*heads, "before\nthe send"), rows))
    say(console, "TTFT is the sum from client to rest; the wait before the send is not in it", style="dim", indent=2)
    for name, words in _PARTS.items():
        if name != "server_itl":
            _tell(console, words, [(one.concurrency, one.reasons.get(name)) for one in found])
    for one in found:
        for warn in one.warnings:
            say(console, f"{one.concurrency} users: {warn.finding}; {warn.remedy}", style="yellow", indent=2)
    say(console, f"{model}: time per token (ms), and how full the server was", style="bold")
    console.print(table(console, _USE_HEADS, [_use_row(one, two) for one, two in zip(found, use, strict=True)]))
    _tell(console, _PARTS["server_itl"], [(one.concurrency, one.reasons.get("server_itl")) for one in found])
    for name in dict.fromkeys(name for two in use for name in two.reasons):
        _tell(console, _USE_WORDS.get(name, name), [(two.concurrency, two.reasons.get(name)) for two in use])


_USE_HEADS = (
    "concur-\nrency", "ITL\nserver", "ITL\nclient", "running\nmean", "max", "waiting\nmean", "max", "KV %\nmean", "max",
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
            shown = _energy_table(columns, measured, console)
            if len(shown.columns) > 1:
                console.print(shown)
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
    heads = ("concur-\nrency", *(columns[i][0] for i in known))
    levels = (level for level, _ in rows)
    return table(at, heads, [[str(level), *(row[i] for i in known)] for level, row in zip(levels, cells, strict=True)])


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

_WIDE, _WIDEST = 100, 120  # columns of terminal from which on more of the table is shown; with energy 20 more
# a column and from which width on it is shown
_COLUMNS = {
    "concurrency": 0, "n_ok": 0, "duration_s": 0, "ttft_mean_s": 0, "ttft_p99_s": _WIDE, "ttft_p95_s": _WIDE,
    "tpot_mean_s": 0, "output_tok_s_per_user": 0, "output_tok_s": 0, "goodput_per_s": 0, "attainment": 0,
    "output_tokens": _WIDE, "e2e_mean_s": _WIDEST, "request_per_s": _WIDEST, "cost_usd": 0,
    "usd_per_1m_output_tokens": 0, "gpu_mean_w": _WIDE, "j_per_output_token": _WIDE,
}  # fmt: skip
_OF_ENERGY = ("gpu_mean_w", "j_per_output_token")
_HEADS = {
    "concurrency": "concur-\nrency", "n_ok": "success-\nful/failed", "duration_s": "dura-\ntion s",
    "tpot_mean_s": "TPOT\nms", "output_tok_s_per_user": "tok/s\n/user", "goodput_per_s": "goodput\nreq/s",
    "attainment": "attain-\nment", "cost_usd": "$ per\nrun", "request_per_s": "req/s", "gpu_mean_w": "W",
    "j_per_output_token": "J/out\ntoken",
}  # fmt: skip
_INTERVALS = ("duration_s", "ttft_mean_s", "output_tok_s_per_user", "goodput_per_s", "attainment",
              "usd_per_1m_output_tokens")  # fmt: skip


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


def _table(judged: Sequence[EvaluatedLevel], decision: Decision, console: Console) -> Table:
    energy = any(j.energy is not None for j in judged)
    columns = [
        column
        for column in with_goodput(tuple(_COLUMNS), judged)
        if console.width >= _COLUMNS[column] + (20 if energy and _COLUMNS[column] == _WIDEST else 0)
        and (energy or column not in _OF_ENERGY)
        and not (column.startswith("ttft_p") and best_tail(judged) not in column)
    ]
    wide = console.width >= _WIDE
    if "attainment" in columns and not wide:  # goodput instead of them
        columns = [column for column in columns if column not in ("duration_s", "tpot_mean_s", "cost_usd")]
    last = "SLO\nviolations" if wide else "SLO\nmet"
    heads = [_HEADS.get(column) or "\n".join(head(column).split(" ", 1)) for column in columns]
    if not wide:  # a line for every word
        heads = [name.replace(" ", "\n").replace("ful/failed", "ful/\nfailed") for name in heads]
    rows, styles = [], []
    for one in judged:
        met = slo_cell(one) if wide else "yes" if one.meets_slo else "no" if one.misses else "?"
        failed = DASH if one.point.n_failed is None else one.point.n_failed
        rows.append([f"{one.point.n_ok}/{failed}" if c == "n_ok" else cell(one, c) for c in columns] + [met])
        chosen = decision.kind == "optimum" and one is decision.choice
        styles.append("bold green" if chosen else "" if one.meets_slo else "dim")
    return table(console, [*heads, last], rows, left=[last], styles=styles)


def interval_table(judged: Sequence[EvaluatedLevel], decision: Decision) -> tuple[list[str], list[list[str]]]:
    """What the runs' spread leaves open: 95 % intervals, the SLO's verdict, how often each level is the optimum."""
    columns = with_goodput(_INTERVALS, judged)
    rows = [
        [
            cell(one, "concurrency"),
            cell(one, "repeat_count"),
            *(interval_cell(one, column) for column in columns),
            one.slo_verdict,
            chance(one.p_met),
            chance(decision.p_by_level.get(one.point.concurrency)),
        ]
        for one in judged
    ]
    return ["concurrency", "repeats", *(head(column) for column in columns), "SLO", "P(SLO)", "P(optimal)"], rows


def _interval_table(judged: Sequence[EvaluatedLevel], decision: Decision, console: Console) -> Table:
    heads, rows = interval_table(judged, decision)
    kept = [i for i, name in enumerate(heads) if console.width >= _WIDE or name not in ("repeats", "duration s")]
    # a narrow terminal: long heads on two lines and intervals below their values, so that they keep their room
    names = [{"concurrency": "concur-\nrency"}.get(heads[i], "\n".join(heads[i].rsplit(" ", 1))) for i in kept]
    cells = [[row[i].replace(" [", "\n[") for i in kept] for row in rows]
    return table(console, names, cells, title="95 % intervals over runs")
