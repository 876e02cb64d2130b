"""A matrix of server settings as a table, on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchsuite.economics.decision import expense
from benchsuite.economics.matrix_decision import JudgedSetting, SettingsDecision
from benchsuite.matrix_spec import Setting
from benchsuite.metrics import BY_COLUMN
from benchsuite.records import UNJUDGED
from benchsuite.redact import csv_table, markdown_table, markdown_text
from benchsuite.report import format as fmt
from benchsuite.report.console import WIDE, say, table
from benchsuite.report.judge import fact_differences
from benchsuite.report.page import write_judged
from benchsuite.report.terminal import VERDICT_STYLES, print_warnings
from benchsuite.results import EvaluatedLevel
from benchsuite.store.files import MANIFEST, write_text
from benchsuite.store.run_folder import read_run

PENDING = ("stopped", "not measured yet")  # the same command goes on with these
_MANY = 4  # settings with the same note, from which they are counted and not named
_HIGHEST = "no limit: the highest"
_FIGURES = ("repeat_count", "cost_usd", "usd_per_1m_output_tokens", "duration_s", "output_tok_s",
            "output_tok_s_per_user", "ttft_mean_s", "tpot_mean_s", "j_per_output_token")  # fmt: skip
_WITH_ENDS = ("cost_usd", "usd_per_1m_output_tokens")
_SHOWN = ("cost_usd", "usd_per_1m_output_tokens", "output_tok_s", "ttft_mean_s", "j_per_output_token")


def judge_setting(
    setting: Setting, folder: Path, status: str = PENDING[1], path: Path | None = None, reason: str | None = None
) -> JudgedSetting:
    """The setting with what is in its run folder, judged and written there.

    folder: the matrix's. status, path, reason: of load.matrix.Outcome; it was not measured yet where there is none.
    """
    run = None if path is None or not (path / MANIFEST).exists() else read_run(path, UNJUDGED)
    search = None if run is None else run.manifest.search
    if search is not None and search.end is not None and search.end.most_x is not None:
        most, answer = f"at most {fmt.number(search.end.most_x)} {fmt.per_second(search)}", search.end.answer
        if answer is not None and answer.usd is not None and search.per == "output_token":
            usd = 1e6 * answer.usd[0] * answer.throughput[0] / search.end.most_x
            most = f"at least {fmt.usd(usd)}/1M output tokens"
        status, reason = "given up", f"{most} where it meets the SLO: dearer than {search.end.beaten_by} at most"
    problem = None if status in ("measured", "kept") else status + (f": {reason}" if reason else "")
    return JudgedSetting(
        setting.name,
        setting.gpus,
        write_judged(run) if run is not None and run.manifest.complete_points else None,
        problem,
        status,
        setting.values,
        setting.serve,
        str(path.relative_to(folder)) if path is not None and path.exists() else "",
        None if run is None else run.manifest,
    )


def write_tables(found: SettingsDecision, slo: str, folder: Path) -> None:
    """matrix.csv and matrix.md."""
    write_text(folder / "matrix.csv", to_csv(found))
    write_text(folder / "matrix.md", to_markdown(found, slo))


def rows(found: SettingsDecision) -> list[dict[str, Any]]:
    """One plain dict a setting, in the matrix's order. Missing is None; figures are those of `concurrency`."""
    made = []
    for place, setting in enumerate(found.settings):
        level, figures = setting.nearest, dict[str, Any]()
        for column in _FIGURES:
            figures[column] = level and BY_COLUMN[column].of(level)
            if column in _WITH_ENDS:
                ends = level and level.intervals.get(column)
                figures |= {f"{column}_low": ends and ends.low, f"{column}_high": ends and ends.high}
        reason = "it was not measured" if setting.levels is None else setting.levels.decision.reason
        row = {
            "setting": setting.name,
            **{f"set_{key}": value for key, value in setting.values},
            "gpus": setting.gpus,
            "status": setting.status,
            "rank": found.ranked.index(place) + 1 if place in found.ranked else None,
            "p_cheapest": None if found.p_cheapest is None else found.p_cheapest.get(place),
            "slo_verdict": level and level.slo_verdict,
            "within_limits": level and level.within_limits,
            **({"concurrency": None} if level is None else level.point.level.named()),
            **figures,
            "gpu_s": _gpu_s(setting),
            **_search_row(setting),
            "reason": setting.problem or reason,
            "serve": setting.serve,
            "run": setting.run,
        }
        made.append(row)
    return made


def _search_row(setting: JudgedSetting) -> dict[str, Any]:
    """Of a search its answer, what it took and why it ended; {} of a sweep."""
    search = None if setting.manifest is None else setting.manifest.search
    if search is None or search.end is None:
        return {}
    answer = search.end.answer
    usd = (None, None, None) if answer is None or answer.usd is None else tuple(answer.usd)
    return {
        "answer": answer and answer.level,
        **dict(zip(("answer_usd", "answer_usd_low", "answer_usd_high"), usd, strict=True)),
        "p_met": answer and answer.p_met,
        "p_good": answer and answer.p_good,
        "probes": search.end.probes,
        "search_s": search.end.seconds,
        "search_usd": search.end.spent_usd,
        "search_end": search.end.reason,
    }


def _gpu_s(setting: JudgedSetting) -> float | None:
    level = setting.nearest
    return None if level is None or level.point.duration_s is None else level.point.duration_s * setting.gpus


def headline(found: SettingsDecision) -> str:
    """'cheapest that meets the SLO: slots=4 at concurrency 8, ...; runner-up ...; P = 0.93', without a full stop."""
    winner, second = found.winner, found.runner_up
    so_far = "so far, " * any(setting.status in PENDING for setting in found.settings)
    if winner is None or winner.best is None:
        whole = [one for one in found.settings if one.levels is not None and one.problem is None]
        if not whole:
            return f"{so_far}no setting was measured to its end"
        which = " that was measured to its end" * (len(whole) < len(found.settings))
        verb = "meets" if found.verdict == "not met" else "appears to meet"
        return f"{so_far}no setting{which} {verb} the SLO at any level"
    at = _at(winner, winner.best, fmt.price_text(winner.best))
    if found.verdict == "met":
        parts = [f"{so_far}cheapest that meets the SLO: {at}"]
    else:
        parts = [f"{so_far}looks cheapest: {at}", f"whether it meets the SLO {fmt.doubt_text(winner.best)}"]
        if winner.levels is not None and (settles := fmt.effort_text(winner.levels.decision)):
            parts.append(settles)
    if second is None or second.best is None:
        parts.append("no other setting appears to meet it")
    else:
        per_1m, more = second.best.cost.usd_per_1m_output_tokens, ""
        if winner.best.cost.cost_usd and second.best.cost.cost_usd is not None:
            ratio = (expense(second.best) or 0.0) / (expense(winner.best) or 1.0) - 1
            of = "a token" if winner.answer else "a run" if winner.best.point.level.rate_per_s is None else "a request"
            more = f" (+{fmt.number(ratio * 100, 2)} % {of})" if ratio >= 5e-5 else f" (the same {of})"
        price = fmt.price_text(second.best) if per_1m is None else f"{fmt.usd(per_1m)}/1M"
        parts.append(f"runner-up {_at(second, second.best, price)}{more}")
    p = found.p_winner
    parts.append(f"{found.p_method.removeprefix('no interval: ')}: no probability" if p is None else f"P = {p:.2f}")
    return "; ".join(parts)


def _at(setting: JudgedSetting, level: EvaluatedLevel, price: str) -> str:
    gpus = f" on {setting.gpus} GPUs" if setting.gpus > 1 else ""
    return f"{setting.name} at {level.point.level.at}{gpus}, {price}"


def notes(found: SettingsDecision) -> list[str]:
    """What the table leaves out: settings that are not chosen and why, and what the comparison cannot show."""
    by_text: dict[str, list[str]] = {}
    for setting in found.settings:
        text = setting.problem
        if text is None and setting.levels is not None and setting.best is None:
            assert setting.levels.decision.kind == "none"
            text = fmt.no_level_text(setting.levels.decision)
        if text:
            by_text.setdefault(text, []).append(setting.name)
    found_notes = [
        f"{', '.join(names) if len(names) < _MANY else f'{len(names)} settings'}: {text}"
        for text, names in by_text.items()
    ]
    winner, other = found.winner, found.per_token_winner
    best = None if winner is None or winner.levels is None else winner.levels.decision
    if winner is not None and best is not None and best.kind == "optimum" and (best.binding or "").startswith(_HIGHEST):
        found_notes.append(f"{winner.name}: its optimum is the highest level measured, so measure higher")
    if other is not None and other.best is not None:
        cheaper = f"{other.name} is cheaper ({fmt.usd(other.best.cost.usd_per_1m_output_tokens)}/1M)"
        found_notes.append(f"per output token {cheaper}: its answers are longer for the same set")
    if winner is not None and winner.best is not None and winner.best.cost.usd_per_hour is None:
        found_notes.append("no price: ranked by GPU-seconds; give [sweep.price] usd_per_hour or preset")
    manifests = [(setting.name, setting.manifest) for setting in found.settings if setting.manifest is not None]
    return found_notes + [f"the settings differ in {text}" for text in fact_differences(manifests)]


def to_json(found: SettingsDecision, slo: str) -> dict[str, Any]:
    """The summary as plain data."""
    winner, second = found.winner, found.runner_up
    return {
        "slo": slo,
        "by": found.by,
        "verdict": found.verdict,
        "cheapest": None if winner is None else winner.name,
        **({"concurrency": None} if winner is None or winner.best is None else winner.best.point.level.named()),
        "runner_up": None if second is None else second.name,
        "p_cheapest": found.p_winner,
        "p_method": found.p_method,
        "sentence": headline(found),
        "notes": notes(found),
        "settings": rows(found),
    }


def to_csv(found: SettingsDecision) -> str:
    """The rows as CSV; missing is an empty cell, and no text is a formula."""
    return csv_table(rows(found))


_TEXT = ("setting", "SLO")


def _table(found: SettingsDecision, asked: tuple[str, ...] = ()) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Heads and a row for each setting; figures of a level in brackets are of one that is not chosen."""
    levels = [setting.nearest for setting in found.settings if setting.nearest is not None]
    searched = any(_search_row(setting) for setting in found.settings)
    columns = asked or fmt.with_judged(_SHOWN[1:3] if searched else _SHOWN, levels, alone=True)
    shown = [column for column in columns if any(BY_COLUMN[column].of(level) is not None for level in levels)]
    by_time = not asked and "cost_usd" not in shown and bool(levels) and not searched
    several = any(setting.gpus > 1 for setting in found.settings)
    head = fmt.level_head(level.point.level for level in levels)
    heads = ["setting", head, *["GPUs"] * several, *["GPU-s per run"] * by_time, *map(fmt.head, shown), "SLO"]
    cells = []
    for place, setting in enumerate(found.settings):
        level, ranked, gpus = setting.nearest, place in found.ranked, [str(setting.gpus)] * several
        if level is None:
            row = [setting.name, fmt.DASH, *gpus, *[fmt.DASH] * (len(heads) - 2 - several)]
        else:
            at, verdict = str(level.point.level), level.slo_verdict
            figures = [
                fmt.interval_cell(level, c) if c in _WITH_ENDS else fmt.cell(level, c, asked=bool(asked)) for c in shown
            ]
            row = [setting.name, at if ranked else f"({at})", *gpus, *[fmt.number(_gpu_s(setting))] * by_time, *figures]
            row.append(verdict if ranked or verdict != "not met" else "no level")
        if setting.problem:
            row[-1] = setting.status
        if searched:
            one = _search_row(setting)
            known = [one.get(name) for name in ("p_good", "search_s", "search_usd")]
            row += [fmt.chance(known[0]), fmt.number(None if known[1] is None else known[1] / 60), fmt.usd(known[2])]
        cells.append(row if found.p_cheapest is None else [*row, fmt.chance(found.p_cheapest.get(place))])
    heads += ["P(good)", "min", "$ spent"] if searched else []
    return fmt.known_columns([*heads, *["P(best)"] * (found.p_cheapest is not None)], cells)


def print_matrix(
    found: SettingsDecision, slo: str, console: Console | None = None, columns: tuple[str, ...] = ()
) -> None:
    """Print the table, the sentence, the notes, and the warnings on the level chosen. columns: none is the default."""
    console = console or Console()
    heads, cells = _table(found, columns)
    run, per_1m = fmt.head("cost_usd"), fmt.head("usd_per_1m_output_tokens")
    console.print()
    say(console, f"settings of the server    SLO: {slo}", style="bold")
    shown, styles = [], []
    for place, row in enumerate(cells):
        by_head = {name: text.replace(" [", "\n[") for name, text in zip(heads, row, strict=True)}
        by_head["setting"] = row[0].replace(" ", "\n") if all("=" in part for part in row[0].split()) else row[0]
        if console.width < WIDE:  # the cost of a run goes without its interval
            by_head |= {name: by_head[name].partition("\n")[0] for name in by_head.keys() & {run}}
            by_head |= {name: by_head[name].replace(", ", ",\n") for name in by_head.keys() & {per_1m}}
        shown.append(list(by_head.values()))
        styles.append(
            VERDICT_STYLES[found.verdict] if found.ranked[:1] == (place,) else "" if place in found.ranked else "dim"
        )
    console.print(table(console, heads, shown, left=_TEXT, styles=styles))
    if any(row[1].startswith("(") for row in cells):
        say(console, f"({heads[1]}): not chosen; the figures are of that level", style="dim")
    say(console, headline(found), style=VERDICT_STYLES[found.verdict], indent=2)
    for text in notes(found):
        say(console, text, indent=2)
    if found.p_cheapest is not None:
        say(console, f"P(best): {found.p_method}", style="dim", indent=2)
    winner = found.winner
    if winner is not None and winner.best is not None and winner.levels is not None:
        print_warnings([winner.best], console, winner.levels.source, winner.levels.decision)


def to_markdown(found: SettingsDecision, slo: str) -> str:
    """The table and what is to be known of it, as Markdown."""
    heads, cells = _table(found)
    numbers = [name for name in heads if name not in _TEXT]
    parts = [
        f"SLO: {slo}",
        "\n".join(markdown_table(heads, [[*map(markdown_text, row)] for row in cells], right=numbers)),
        f"**{markdown_text(headline(found))}**",
        "\n".join(f"* {markdown_text(text)}" for text in notes(found)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"
