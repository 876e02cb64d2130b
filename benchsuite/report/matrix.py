"""A matrix of server settings as a table, on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchsuite.economics.matrix_decision import JudgedSetting, SettingsDecision
from benchsuite.redact import csv_table, markdown_text
from benchsuite.report.console import safe, say
from benchsuite.report.format import (
    DASH,
    chance,
    doubt_text,
    grouped_warnings,
    interval,
    ms,
    number,
    price_text,
    usd,
    warning_text,
)
from benchsuite.results import EvaluatedLevel
from benchsuite.store.run_folder import Run

PENDING = ("stopped", "not measured yet")  # the same command goes on with these
_MANY = 4  # settings with one thing said of them, from which they are counted and not named
_HIGHEST = "no limit: the highest"


@dataclass(frozen=True, slots=True)
class SettingReport:
    """What is shown of a setting beside its levels. status: in a few words; run: its folder; facts: of its server."""

    values: tuple[tuple[str, str | int | float | bool], ...]
    serve: str
    status: str
    run: str
    facts: dict[str, str | None]


def facts_of(run: Run) -> dict[str, str | None]:
    """What should be alike between the settings' runs, and may not be when the matrix was taken up again later."""
    manifest = run.manifest
    version = (manifest.launched_server or {}).get("version")
    return {
        "server version": None if version is None else str(version),
        "client host": manifest.host.platform,
        "benchsuite": manifest.benchsuite,
    }


def rows(found: SettingsDecision, reports: Sequence[SettingReport]) -> list[dict[str, Any]]:
    """One plain dict a setting, in the matrix's order. Missing is None; figures are those of `concurrency`."""
    return [_row(found, place, report) for place, report in enumerate(reports)]


def _row(found: SettingsDecision, place: int, report: SettingReport) -> dict[str, Any]:
    setting = found.settings[place]
    level = setting.nearest
    cost, per_1m = (level.intervals.get(key) if level else None for key in ("cost_usd", "usd_per_1m_output_tokens"))
    return {
        "setting": setting.name,
        **{f"set_{key}": value for key, value in report.values},
        "gpus": setting.gpus,
        "status": report.status,
        "rank": found.ranked.index(place) + 1 if place in found.ranked else None,
        "p_cheapest": None if found.p_cheapest is None else found.p_cheapest.get(place),
        "meets_slo": None if level is None else level.meets_slo,
        "slo_verdict": None if level is None else level.slo_verdict,
        "concurrency": None if level is None else level.point.concurrency,
        "runs": None if level is None else level.point.repeat_count,
        "cost_usd": None if level is None else level.cost.cost_usd,
        "cost_low_usd": None if cost is None else cost.low,
        "cost_high_usd": None if cost is None else cost.high,
        "usd_per_1m_output_tokens": None if level is None else level.cost.usd_per_1m_output_tokens,
        "usd_per_1m_output_tokens_low": None if per_1m is None else per_1m.low,
        "usd_per_1m_output_tokens_high": None if per_1m is None else per_1m.high,
        "duration_s": None if level is None else level.point.duration_s,
        "gpu_s": None if level is None or level.point.duration_s is None else level.point.duration_s * setting.gpus,
        "output_tok_s": None if level is None else level.point.output_tok_s,
        "output_tok_s_per_user": None if level is None else level.point.output_tok_s_per_user,
        "ttft_mean_s": None if level is None else level.point.ttft_s.mean,
        "tpot_mean_s": None if level is None else level.point.tpot_s.mean,
        "j_per_output_token": None if level is None or level.energy is None else level.energy.j_per_output_token,
        "reason": reason(setting),
        "serve": report.serve,
        "run": report.run,
    }


def reason(setting: JudgedSetting) -> str:
    """Why the setting is not chosen, or why its level is its optimum."""
    return setting.problem or ("it was not measured" if setting.levels is None else setting.levels.decision.reason)


def headline(found: SettingsDecision, reports: Sequence[SettingReport]) -> str:
    """'cheapest that meets the SLO: slots=4 at 8 users, ...; runner-up ...; P = 0.93', without a full stop."""
    winner, second = found.winner, found.runner_up
    so_far = "so far, " * any(report.status in PENDING for report in reports)
    if winner is None or winner.best is None:
        return so_far + _nothing(found)
    said = [f"{so_far}cheapest that meets the SLO: {_at(winner, winner.best)}"]
    if second is None or second.best is None:
        said.append("no other setting meets it")
    else:
        said.append(f"runner-up {_at(second, second.best, short=True)}{_dearer(found)}")
    p = found.p_winner
    said.append(f"{found.p_method.removeprefix('no interval: ')}: no probability" if p is None else f"P = {p:.2f}")
    return "; ".join(said)


def _at(setting: JudgedSetting, level: EvaluatedLevel, *, short: bool = False) -> str:
    per_1m = level.cost.usd_per_1m_output_tokens
    price = f"{usd(per_1m)}/1M" if short and per_1m is not None else price_text(level)
    users = f"{level.point.concurrency} user{'s' * (level.point.concurrency > 1)}"
    gpus = f" on {setting.gpus} GPUs" if setting.gpus > 1 else ""
    return f"{setting.name} at {users}{gpus}, {price}"


def _dearer(found: SettingsDecision) -> str:
    """' (+5.3 %)': how much more one run of the set costs on the runner-up."""
    first, second = (found.settings[place].best for place in found.ranked[:2])
    if first is None or second is None or not first.cost.cost_usd or second.cost.cost_usd is None:
        return ""
    return f" (+{number((second.cost.cost_usd / first.cost.cost_usd - 1) * 100, 2)} % a run)"


def _nothing(found: SettingsDecision) -> str:
    whole = [one for one in found.settings if one.levels is not None and one.problem is None]
    if not whole:
        return "no setting was measured to its end"
    return (
        f"no setting{' that was measured to its end' * (len(whole) < len(found.settings))} meets the SLO at any level"
    )


def notes(found: SettingsDecision, reports: Sequence[SettingReport]) -> list[str]:
    """What the table leaves out: settings that are not chosen and why, and what the comparison cannot say."""
    against: dict[str, list[str]] = {}
    for setting in found.settings:
        if text := _against(setting):
            against.setdefault(text, []).append(setting.name)
    said = [
        f"{', '.join(names) if len(names) < _MANY else f'{len(names)} settings'}: {t}" for t, names in against.items()
    ]
    best = None if found.winner is None or found.winner.levels is None else found.winner.levels.decision
    if best is not None and best.kind == "optimum" and (best.binding or "").startswith(_HIGHEST):
        said.append(
            f"{found.settings[found.ranked[0]].name}: its optimum is the highest level measured, so measure higher"
        )
    other = found.per_token_winner
    if other is not None and other.best is not None:
        per_1m = usd(other.best.cost.usd_per_1m_output_tokens)
        said.append(f"per output token {other.name} is cheaper ({per_1m}/1M): its answers are longer for the same set")
    if found.winner is not None and found.winner.best is not None and found.winner.best.cost.usd_per_hour is None:
        said.append("no price: ranked by GPU-seconds; give [sweep.price] usd_per_hour or preset")
    for key in dict.fromkeys(key for report in reports for key in report.facts):
        values = {str(report.facts[key]) for report in reports if report.facts.get(key) is not None}
        if len(values) > 1:
            said.append(f"the settings were measured with different values of {key}: {', '.join(sorted(values))}")
    return said


def _against(setting: JudgedSetting) -> str | None:
    if setting.problem is not None:
        return setting.problem
    if setting.levels is None or setting.best is not None:
        return None
    nearest = setting.nearest
    where = (
        "" if nearest is None else f"; nearest: {nearest.point.concurrency} {doubt_text(nearest) or 'has no duration'}"
    )
    return f"no level meets the SLO{where}"


def to_json(found: SettingsDecision, reports: Sequence[SettingReport], slo: str) -> dict[str, Any]:
    """The summary as plain data."""
    winner, second = found.winner, found.runner_up
    return {
        "slo": slo,
        "by": found.by,
        "cheapest": None if winner is None else winner.name,
        "concurrency": None if winner is None or winner.best is None else winner.best.point.concurrency,
        "runner_up": None if second is None else second.name,
        "p_cheapest": found.p_winner,
        "p_method": found.p_method,
        "sentence": headline(found, reports),
        "notes": notes(found, reports),
        "settings": rows(found, reports),
    }


def to_csv(found: SettingsDecision, reports: Sequence[SettingReport]) -> str:
    """The rows as CSV; missing is an empty cell, and no text is a formula."""
    return csv_table(rows(found, reports))


_HEADS = ("setting", "GPUs", "users", "$ per\nrun", "$/1M\noutput", "output\ntok/s", "TTFT\nmean ms", "SLO")
_LEFT = ("setting", "SLO")
_NAME_WIDTH = 30
_WIDE = 100  # columns of terminal; below, the cost of a run goes without its interval


def verdict(setting: JudgedSetting) -> str:
    """The SLO's cell: the verdict on the level shown, or why the setting has none."""
    level = setting.nearest
    if level is None:
        return DASH
    return level.slo_verdict if level.meets_slo else "no level"


def _cells(found: SettingsDecision, place: int, report: SettingReport) -> dict[str, str]:
    setting = found.settings[place]
    level = setting.nearest
    p = None if found.p_cheapest is None else found.p_cheapest.get(place)
    chosen = level is not None and place in found.ranked
    bare = dict.fromkeys(_HEADS, DASH) | {"setting": setting.name, "GPUs": str(setting.gpus)}
    bare |= {"SLO": report.status if setting.problem else verdict(setting), "P": chance(p)}
    bare |= {"J/output\ntoken": DASH, "GPU-s\nper run": DASH}
    if level is None:
        return bare
    energy, duration_s = level.energy, level.point.duration_s
    return bare | {
        "users": str(level.point.concurrency) if chosen else f"({level.point.concurrency})",
        "$ per\nrun": interval(level.intervals.get("cost_usd"), usd) if level.cost.cost_usd is not None else DASH,
        "GPU-s\nper run": number(None if duration_s is None else duration_s * setting.gpus),
        "$/1M\noutput": interval(level.intervals.get("usd_per_1m_output_tokens"), number),
        "output\ntok/s": number(level.point.output_tok_s),
        "TTFT\nmean ms": ms(level.point.ttft_s.mean),
        "J/output\ntoken": number(None if energy is None else energy.j_per_output_token),
    }


def _heads(found: SettingsDecision) -> list[str]:
    measured = [j for one in found.settings if one.levels is not None for j in one.levels.judged]
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
    longest = max(len(part) for one in found.settings for part in ("setting", *one.name.split()))
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
        if all("=" in part for part in found.settings[place].name.split()):
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
        lines.append(_line([markdown_text(cells[head]) for head in heads]))
    lines += ["", f"**{markdown_text(headline(found, reports))}**", *[""] * bool(notes(found, reports))]
    lines += [f"* {markdown_text(text)}" for text in notes(found, reports)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
