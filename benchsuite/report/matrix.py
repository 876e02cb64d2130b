"""A matrix of server settings as a table, on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchsuite.economics.settings import SettingCurve, SettingsDecision
from benchsuite.foreign import markdown_cell
from benchsuite.report.console import safe, say
from benchsuite.report.matrix_words import SettingReport, headline, notes, shown_level
from benchsuite.report.words import DASH, chance, grouped_warnings, interval, ms, number, usd, warning_text

_HEADS = ("setting", "GPUs", "users", "$ per\nrun", "$/1M\noutput", "output\ntok/s", "TTFT\nmean ms", "SLO")
_LEFT = ("setting", "SLO")
_NAME_WIDTH = 30
_WIDE = 100  # columns of terminal; below, the cost of a run goes without its interval


def verdict(curve: SettingCurve) -> str:
    """The SLO's cell: the verdict on the level shown, or why the setting has none."""
    level = shown_level(curve)
    if level is None:
        return DASH
    return level.slo_verdict if level.meets_slo else "no level"


def _cells(found: SettingsDecision, place: int, report: SettingReport) -> dict[str, str]:
    curve = found.curves[place]
    level = shown_level(curve)
    p = None if found.p_cheapest is None else found.p_cheapest.get(place)
    chosen = level is not None and place in found.ranked
    bare = dict.fromkeys(_HEADS, DASH) | {"setting": curve.name, "GPUs": str(curve.gpus)}
    bare |= {"SLO": report.status if curve.problem else verdict(curve), "P": chance(p)}
    bare |= {"J/output\ntoken": DASH, "GPU-s\nper run": DASH}
    if level is None:
        return bare
    energy, wall_s = level.energy, level.point.wall_s
    return bare | {
        "users": str(level.point.concurrency) if chosen else f"({level.point.concurrency})",
        "$ per\nrun": interval(level.intervals.get("cost_usd"), usd) if level.cost.cost_usd is not None else DASH,
        "GPU-s\nper run": number(None if wall_s is None else wall_s * curve.gpus),
        "$/1M\noutput": interval(level.intervals.get("usd_per_1m_output_tokens"), number),
        "output\ntok/s": number(level.point.output_tok_s),
        "TTFT\nmean ms": ms(level.point.ttft_s.mean),
        "J/output\ntoken": number(None if energy is None else energy.j_per_output_token),
    }


def _heads(found: SettingsDecision) -> list[str]:
    measured = [j for curve in found.curves for j in curve.judged]
    energy = any(j.energy is not None and j.energy.j_per_output_token is not None for j in measured)
    paid = any(j.cost.cost_usd is not None for j in measured) or not measured
    heads = [head for head in _HEADS[:-1] if paid or "$" not in head]
    heads[3:3] = ["GPU-s\nper run"] * (not paid)
    return [*heads, *["J/output\ntoken"] * energy, _HEADS[-1], *["P"] * (found.p_cheapest is not None)]


def print_matrix(
    found: SettingsDecision, reports: Sequence[SettingReport], slo: str, console: Console | None = None
) -> None:
    """Print the table, the sentence, what is said against it, and the warnings on the level chosen."""
    console = console or Console()
    heads = _heads(found)
    console.print()
    say(console, f"settings of the server    SLO: {slo}", style="bold")
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    longest = max(len(part) for curve in found.curves for part in ("setting", *curve.name.split()))
    for head in heads:
        left = head in _LEFT
        table.add_column(
            head,
            justify="left" if left else "right",
            no_wrap=not left,
            vertical="top",
            overflow="fold",
            min_width=min(longest, _NAME_WIDTH) if head == "setting" and console.width >= _WIDE else None,
        )
    for place, report in enumerate(reports):
        cells = _cells(found, place, report)
        style = "bold green" if found.ranked[:1] == (place,) else "" if place in found.ranked else "dim"
        if all("=" in part for part in found.curves[place].name.split()):
            cells["setting"] = cells["setting"].replace(" ", "\n")  # a line for each flag
        cells |= {head: cell.replace(" [", "\n[") for head, cell in cells.items() if head != "setting"}
        if console.width < _WIDE:
            cells["$ per\nrun"] = cells["$ per\nrun"].partition("\n")[0]
            cells["$/1M\noutput"] = cells["$/1M\noutput"].replace(", ", ",\n")
            cells["SLO"] = cells["SLO"].replace(" in this run", "\nin this run").replace("did not ", "did not\n")
        shown = ["\n".join(safe(console, part) for part in cells[head].split("\n")) for head in heads]
        table.add_row(*(Text(cell) for cell in shown), style=style)
    console.print(table)
    if any(cells.startswith("(") for cells in (_cells(found, i, r)["users"] for i, r in enumerate(reports))):
        say(console, "(users): not chosen; the figures are of that level", style="dim")
    say(console, headline(found, reports), style="bold green" if found.winner else "bold red", indent=2)
    for text in notes(found, reports):
        say(console, text, indent=2)
    if found.p_cheapest is not None:
        say(console, f"P: {found.p_method}", style="dim", indent=2)
    best = found.winner.best if found.winner is not None else None
    for warn, levels in grouped_warnings([] if best is None else [best]):
        say(console, f"warning {warn.code} {warning_text(warn, levels)}", style="yellow", indent=2)


def to_markdown(found: SettingsDecision, reports: Sequence[SettingReport], slo: str) -> str:
    """The table and what is said of it, as Markdown."""
    heads = _heads(found)
    lines = [f"SLO: {slo}", "", _line([head.replace("\n", " ") for head in heads])]
    lines.append("|" + "|".join("---" if head in _LEFT else "---:" for head in heads) + "|")
    for place, report in enumerate(reports):
        cells = _cells(found, place, report)
        lines.append(_line([markdown_cell(cells[head]) for head in heads]))
    lines += ["", f"**{markdown_cell(headline(found, reports))}**", *[""] * bool(notes(found, reports))]
    lines += [f"* {markdown_cell(text)}" for text in notes(found, reports)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
