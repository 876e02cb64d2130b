"""Energy and GPU use of the levels on the terminal: two tables, what limits trust in them, and what they leave out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchsuite.analysis.energy import J_PER_KWH
from benchsuite.report.console import safe, say
from benchsuite.report.words import DASH, number, percent, usd, warning_text
from benchsuite.results import GpuUse, Judged, PointEnergy, Spread, Warn

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


def energy_rows(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Plain data, a row per level: {concurrency, energy, gpu}, null where nothing measured; energy has its codes."""
    return [
        {
            "concurrency": j.point.concurrency,
            "energy": None if j.energy is None else dataclasses.asdict(j.energy),
            "gpu": None if j.gpu is None else dataclasses.asdict(j.gpu),
        }
        for j in judged
    ]


def print_energy(model: str, judged: Sequence[Judged], console: Console | None = None) -> None:
    """Print energy, money and use per level, as far as they are known, and what limits trust in them."""
    console = console or Console()
    console.print()
    say(console, f"{model}: energy per run of the set", style="bold")
    measured = [(j.point.concurrency, j.energy) for j in judged if j.energy is not None]
    used = [(j.point.concurrency, j.gpu) for j in judged if j.gpu is not None]
    if not measured:
        say(console, "no GPU's power was read and no --constant-kw was given: energy is not known", indent=2)
    else:
        for columns in (_ENERGY, _MONEY):
            table = _table(columns, measured, console)
            if len(table.columns) > 1:
                console.print(table)
        pue = number(measured[0][1].pue)
        say(console, f"{GPUS_ONLY}; PUE {pue}; a rented hour has its electricity in it", style="dim", indent=2)
    if used:
        say(
            console, f"{model}: GPU use, means over time; of several GPUs also the least and the greatest", style="bold"
        )
        console.print(_table(_USE, used, console))
    if said := _busy_early(used):
        say(console, said, style="dim", indent=2)
    for warn, levels in _grouped(measured):
        say(console, f"{warn.code} {warning_text(warn, levels)}", style="yellow", indent=2)


def energy_line(judged: Sequence[Judged], *, in_columns: bool) -> str | None:
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


def _grouped(measured: Sequence[tuple[int, PointEnergy]]) -> list[tuple[Warn, list[int]]]:
    groups: dict[tuple[str, str], tuple[Warn, list[int]]] = {}
    for level, energy in measured:
        for warn in energy.codes:
            groups.setdefault((warn.code, warn.remedy), (warn, []))[1].append(level)
    return list(groups.values())


def _table(columns: Sequence[tuple[str, Callable[[Any], str]]], rows: Sequence[tuple[int, Any]], at: Console) -> Table:
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
