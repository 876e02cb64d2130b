"""A judged run on the terminal: the table of levels, the decision in a sentence, the warnings with their remedies."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchsuite.analysis.time_series import ServerSeries, windows_of
from benchsuite.analysis.ttft_breakdown import Attribution, ServerUse, attribute
from benchsuite.report.console import say, table
from benchsuite.report.format import (
    DASH,
    asides,
    best_tail,
    cell,
    chance,
    grouped_warnings,
    has_intervals,
    head,
    headline,
    interval_cell,
    number,
    slo_cell,
    warning_text,
    with_goodput,
)
from benchsuite.report.judge import Judgement, balance_lines
from benchsuite.report.level_tables import (
    ELECTRICITY,
    ENDPOINTS,
    ENERGY,
    FALLBACK,
    GPUS,
    SERVER,
    TTFT,
    endpoint_rows,
    level_table,
)
from benchsuite.report.live import SweepView
from benchsuite.results import Decision, EvaluatedLevel, GpuUse, PointEnergy
from benchsuite.slo import Slo
from benchsuite.warning_table import Finding

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
    say(console, f"{model}: TTFT by part (means)", style="bold")
    if not found:
        say(console, "the run does not say when its points ran, so the server's samples cannot be matched", indent=2)
        return
    console.print(table(console, *level_table(TTFT, [(one.concurrency, one) for one in found])))
    say(console, "TTFT is the sum of client to rest; dispatch comes before the send", style="dim", indent=2)
    for name, words in _PARTS.items():
        if name != "server_itl":
            _tell(console, words, [(one.concurrency, one.reasons.get(name)) for one in found])
    for one in found:
        for warn in one.warnings:
            say(console, f"concurrency {one.concurrency}: {warn.finding}; {warn.remedy}", style="yellow", indent=2)
    say(console, f"{model}: server load", style="bold")
    loads = [(one.concurrency, one, two) for one, two in zip(found, use, strict=True)]
    console.print(table(console, *level_table(SERVER, loads)))
    _tell(console, _PARTS["server_itl"], [(one.concurrency, one.reasons.get("server_itl")) for one in found])
    for name in dict.fromkeys(name for two in use for name in two.reasons):
        _tell(console, _USE_WORDS.get(name, name), [(two.concurrency, two.reasons.get(name)) for two in use])


_USE_WORDS = {"all": "server", "kv_cache_ratio": "KV", "prefix_cache": "prefix hits", "preemptions": "preempted"}
BEHIND_ONE_URL = (
    "one base URL: if a load balancer is behind it, the server that answered is not visible here; use each server's "
    "own metrics, or give every server with its own --base-url"
)


def print_balance(judgement: Judgement, console: Console) -> None:
    """Print the table by endpoint, the fallback's, and what is not visible."""
    levels = judgement.endpoints.values()
    console.print()
    say(console, f"{judgement.model}: requests by endpoint", style="bold")
    console.print(table(console, *level_table(ENDPOINTS, endpoint_rows(judgement)), left=("endpoint",)))
    if len({part.endpoint for level in levels for part in level.of("own")}) == 1:
        say(console, BEHIND_ONE_URL, style="dim", indent=2)
    for level in levels:
        if level.imbalance is not None:
            say(console, f"concurrency {level.concurrency}: imbalance {level.imbalance:.2f} (1 is even)", indent=2)
    if judgement.fallback:
        say(console, f"{judgement.model}: fallback", style="bold")
        console.print(table(console, *level_table(FALLBACK, judgement.fallback.items())))


def _tell(console: Console, what: str, reasons: Sequence[tuple[int, str | None]]) -> None:
    """One line for each reason, with the levels it holds for."""
    for reason in dict.fromkeys(reason for _, reason in reasons if reason):
        levels = [str(level) for level, own in reasons if own == reason]
        where = "" if len(levels) == len(reasons) else f" at {', '.join(levels)}"
        say(console, f"{what} unknown{where}: {reason}", style="dim", indent=2)


GPUS_ONLY = "of the GPUs alone: the host, its fans and its network are not in it"
_BUSY = 0.95


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
        for columns in (ENERGY, ELECTRICITY):
            heads, rows = level_table(columns, measured)
            if len(heads) > 1:
                console.print(table(console, heads, rows))
        pue = number(measured[0][1].pue)
        say(console, f"{GPUS_ONLY}; PUE {pue}; a rented hour has its electricity in it", style="dim", indent=2)
    if used:
        say(
            console, f"{model}: GPU use, means over time; of several GPUs also the least and the greatest", style="bold"
        )
        console.print(table(console, *level_table(GPUS, used)))
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
        f"utilisation is {_BUSY:.0%} or more from concurrency {min(busy)} on, as expected: it is the share of time in "
        "which any kernel ran; size by the SLO, SM and DRAM activity, not by it"
    )


def _grouped(measured: Sequence[tuple[int, PointEnergy]]) -> list[tuple[Finding, list[int]]]:
    groups: dict[tuple[str, str], tuple[Finding, list[int]]] = {}
    for level, energy in measured:
        for warn in energy.codes:
            groups.setdefault((warn.code, warn.remedy), (warn, []))[1].append(level)
    return list(groups.values())


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
