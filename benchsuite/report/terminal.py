"""A judged run on the terminal: the table of levels, the decision in a sentence, the warnings with their remedies."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchsuite.analysis.ttft_breakdown import Attribution, ServerUse
from benchsuite.economics.decision import JudgedLevels
from benchsuite.errors import InputError, did_you_mean
from benchsuite.metrics import BY_COLUMN, CONFIDENCE, find, names
from benchsuite.report import format as fmt
from benchsuite.report import level_tables as tables
from benchsuite.report.console import WIDE, say, table
from benchsuite.report.judge import Judgement, imbalance_text, ttft_breakdown
from benchsuite.report.sections_cost import scaling_of, scaling_sentences
from benchsuite.results import Decision, EvaluatedLevel, SloVerdict

_WIDEST = 120  # columns of terminal from which on all of the table is shown; with energy 20 more
# a column and from which width on it is shown
_COLUMNS = {
    "concurrency": 0, "rate_per_s": 0, "n_ok": 0, "duration_s": 0, "offered_per_s": WIDE, "in_flight": 0,
    "idle_share": WIDE, "ttft_mean_s": 0, "ttft_sent_mean_s": WIDE, "ttft_p99_s": WIDE, "ttft_p95_s": WIDE,
    "tpot_mean_s": 0, "output_tok_s_per_user": 0, "output_tok_s": 0, "goodput_per_s": 0, "attainment": 0,
    "score": 0, "usd_per_1m_correct": WIDE,
    "output_tokens": WIDE, "e2e_mean_s": _WIDEST, "request_per_s": _WIDEST, "cost_usd": 0,
    "usd_per_good_request": 140, "usd_per_1m_output_tokens": 0,
    "reasoning_tokens": WIDE, "reasoning_share": 0, "reasoning_usd": WIDE,
    "gpu_mean_w": WIDE, "j_per_output_token": WIDE,
}  # fmt: skip
_OF_ENERGY = ("gpu_mean_w", "j_per_output_token")
_ALIKE, _ALIKE_FROM = ("duration_s", "cost_usd", "ttft_sent_mean_s", "output_tokens"), 160  # at every rate, or nearly


class Shown(NamedTuple):
    """What of a judged run is printed. columns: of the table of levels, () for those that the terminal has room for.

    wide: also every statistic of every latency. verbose: that, and all warnings.
    """

    columns: tuple[str, ...] = ()
    wide: bool = False
    verbose: bool = False

    @classmethod
    def asked(cls, *, columns: str | None, wide: bool, verbose: bool) -> Shown:
        """As the flags say. Raises InputError for an unknown column."""
        return cls(parse_columns(columns), wide or verbose, verbose)


def parse_columns(text: str | None) -> tuple[str, ...]:
    """'ttft_p50,ttft_p99,cost' as columns of a level. Raises InputError with the nearest name."""
    found = []
    for word in (text or "").split(","):
        name = word.strip().lower()
        one = BY_COLUMN.get(name) or find(name) if name else None
        if name and one is None:
            hint = did_you_mean(name, [*names(), *BY_COLUMN])
            expected = "names of metrics such as ttft_p50,ttft_p99,tpot_p95,output_throughput,cost"
            raise InputError("no such column", where="--columns", given=word.strip(), expected=expected, hint=hint)
        found += [one.column] if one is not None else []
    return tuple(dict.fromkeys(found))


def print_judgement(
    judgement: Judgement,
    path: Path,
    *,
    quiet: bool = False,
    shown: Shown = Shown(),  # noqa: B008 - immutable
    console: Console | None = None,
) -> None:
    """Print a judged run and where its files are. quiet: the decision's line alone."""
    console = console or Console()
    if quiet:
        say(console, fmt.headline(judgement.decision, judgement.judged))
        return
    final_table(judgement, console=console, title=judgement.model, shown=shown)
    if uneven := imbalance_text(judgement):
        say(console, uneven, indent=2)
    if any(use.api_requests for use in judgement.fallback.values()):
        _print_table(console, tables.FALLBACK, judgement.fallback.items(), "fallback")
    others = ("gpu.parquet", "server.parquet", "scores.parquet", "serve.log")
    there = [name for name in others if (path / name).exists()]
    files = ", ".join(["report.html", "summary.json", "requests.parquet", *there, "manifest.json"])
    say(console, f"files in {path}: {files}", style="dim")


def final_table(
    judgement: JudgedLevels,
    *,
    console: Console | None = None,
    title: str | None = None,
    shown: Shown = Shown(),  # noqa: B008 - immutable
) -> None:
    """Print one row per level, the decision, and the warnings that matter most to it.

    Times in milliseconds. A p99 is shown where n >= 1000, else the p95 where n >= 200, else an en dash.
    """
    console = console or Console()
    judged, decision = judgement.judged, judgement.decision
    console.print()
    if title:
        say(console, f"{title}    SLO: {judgement.slo}", style="bold")
    path = None
    if isinstance(judgement, Judgement) and judgement.run is not None:
        for i, line in enumerate(fmt.search_answer(judgement.run.manifest, judgement.slo)):
            say(console, line, style="bold" * (not i), indent=2)
        path = tables.search_table(judgement)
    if path is not None:
        narrow = ("judged", "nearest limit", "min so far")
        console.print(table(console, *path, left=tables.SEARCH_WORDS, wide=narrow, title=tables.SEARCH_TITLE))
    if judged:
        console.print(_table(judgement, console, shown.columns))
        if shown.wide:
            console.print(table(console, *tables.latency_table(judged), left=["latency"], title="Latencies"))
        if shown.wide or shown.columns:
            say(console, "* fewer than ten requests lie beyond it: hardly more than the greatest seen", style="dim")
    say(console, fmt.headline(decision, judged), style=VERDICT_STYLES[decision.verdict], indent=2)
    for text in (*fmt.asides(decision, judged), energy_line(judged, in_columns=console.width >= WIDE)):
        if text:
            say(console, text, indent=2)
    if fmt.has_intervals(judged):
        heads, rows = tables.interval_table(judged, decision)
        # an interval below its value: both keep their room in a narrow terminal
        cells = [[cell.replace(" [", "\n[") for cell in row] for row in rows]
        wide, title = ("repeats", "duration s"), f"{CONFIDENCE} intervals {fmt.over_runs(heads)}"
        console.print(table(console, heads, cells, title=title, wide=wide))
    if (closed := tables.closed_loop_table(judged)) is not None:
        spared = [fmt.head(column) for column in ("request_per_s", "usd_per_request", "usd_per_request_at_capacity")]
        console.print(table(console, *closed, title=tables.CLOSED_LOOP_TITLE, wide=spared))
    print_warnings(judged, console, judgement.source, judgement.decision, everything=shown.verbose)


# of the decision: green where the level that is named is proven to meet the SLO, red where none does
VERDICT_STYLES: dict[SloVerdict, str] = {
    "met": "bold green", "not met": "bold red", "undecided": "bold yellow", "unknown": "bold yellow"
}  # fmt: skip


_MOST_WARNINGS = 3


def print_warnings(
    judged: Sequence[EvaluatedLevel], console: Console, source: str, decision: Decision, *, everything: bool = False
) -> None:
    """Print the warnings that matter most to the decision, and how many more `check` has; everything: all of them."""
    found = fmt.ranked_warnings(judged, decision)
    most = len(found) if everything else _MOST_WARNINGS
    shown = [one for one in found if everything or one[0].severity != "info"][:most]
    for warn, levels in shown:
        say(console, f"{warn.severity} {warn.code} {fmt.warning_text(warn, levels)}", style="yellow", indent=2)
    if more := len(found) - len(shown):
        words = f"{more} more" if shown else fmt.plural(more, "note")
        say(console, f"{words}: benchsuite check {'--levels-csv ' * source.endswith('.csv')}{shlex.quote(source)}")


_SHORT = {"met": "yes", "not met": "no"}  # in a narrow terminal; what is undecided or unknown a question mark


def _table(judgement: JudgedLevels, console: Console, asked: Sequence[str] = ()) -> Table:
    """asked: the columns that a person named, instead of those that there is room for."""
    judged, wide, rates = judgement.judged, console.width >= WIDE, judgement.of_rates
    energy = any(j.energy is not None for j in judged)
    scored = "score" in fmt.with_judged(tuple(_COLUMNS), judged, alone=not wide)

    def has_room(column: str) -> bool:
        if column in ("ttft_p95_s", "ttft_p99_s") and fmt.best_tail(judged) not in column:
            return False
        if rates and column in _ALIKE and console.width < _ALIKE_FROM:
            return False
        more = 20 * (energy and _COLUMNS[column] == _WIDEST)
        if scored and column != "usd_per_1m_correct" and _COLUMNS[column] >= WIDE:
            more += 20  # the score and its price take what these have elsewhere
        return console.width >= _COLUMNS[column] + more and (energy or column not in _OF_ENERGY)

    columns = fmt.with_judged(tuple(_COLUMNS), judged, alone=not wide)
    # attainment, thinking or a score instead of some in a narrow terminal
    dropped = {"duration_s"} if (scored or "reasoning_share" in columns) and not wide else set()
    dropped |= {"duration_s", "tpot_mean_s", "cost_usd"} if "attainment" in columns and not wide else set()
    columns = tuple(c for c in columns if fmt.is_judged(judged[0], c) or (has_room(c) and c not in dropped))
    columns = tuple(dict.fromkeys(("rate_per_s" if rates else "concurrency", *asked))) if asked else columns
    last = "SLO" if wide else "SLO met"
    heads = ["successful/failed" if column == "n_ok" else fmt.head(column, judged) for column in columns]
    rows, styles = [], []
    for one in judged:
        met = fmt.slo_cell(one) if wide else _SHORT.get(one.slo_verdict, "?")
        failed = fmt.DASH if one.point.n_failed is None else one.point.n_failed
        rows.append(
            [f"{one.point.n_ok}/{failed}" if c == "n_ok" else fmt.cell(one, c, asked=c in asked) for c in columns]
            + [met]
        )
        styles.append(VERDICT_STYLES[one.slo_verdict] if one is judgement.best else "" if one.is_candidate else "dim")
    return table(console, [*heads, last], rows, left=[last], styles=styles)


def _print_table(
    console: Console, columns: Sequence[tables.Column], rows: Iterable[tuple[Any, ...]], title: str = ""
) -> None:
    if title:
        say(console, title, style="bold")
    heads, cells = tables.level_table(columns, rows)
    if len(heads) > 1 and cells:
        console.print(table(console, heads, cells, left=["endpoint"]))


def print_breakdown(judgement: Judgement, console: Console) -> None:
    """Print where TTFT goes and how full the server was, and below each the reasons for what is unknown."""
    found, use, model = ttft_breakdown(judgement), judgement.server_use, judgement.model
    console.print()
    _print_table(console, tables.TTFT, [(one.level, one) for one in found], f"{model}: TTFT by part (means)")
    if not found:
        say(console, "the run has no times of its points, so the server's samples cannot be matched", indent=2)
        return
    note = "TTFT is the sum from client to rest; dispatch, the wait before the send, is not in it"
    say(console, note, style="dim", indent=2)
    for part in ("client", "network", "queue", "prefill", "rest"):
        _print_reasons(console, part, part, found)
    for one in found:
        for warn in one.warnings:
            say(console, f"{one.level.at}: {warn.finding}; {warn.remedy}", style="yellow", indent=2)
    loads = [(one.level, one, load) for one, load in zip(found, use, strict=True)]
    _print_table(console, tables.SERVER, loads, f"{model}: server load")
    _print_reasons(console, "server_itl", "ITL server", found)
    for name in dict.fromkeys(name for one in use for name in one.reasons):
        _print_reasons(console, name, {"all": "server"}.get(name, name.replace("_", " ")), use)


def _print_reasons(console: Console, name: str, what: str, levels: Sequence[Attribution | ServerUse]) -> None:
    """One line for each reason why it is unknown, with the levels it holds for."""
    reasons = [(one.level, one.reasons.get(name)) for one in levels]
    for reason in dict.fromkeys(reason for _, reason in reasons if reason):
        at = [level for level, found in reasons if found == reason]
        where = "" if len(at) == len(reasons) else f" at {', '.join([at[0].at, *map(str, at[1:])])}"
        say(console, f"{what} unknown{where}: {reason}", style="dim", indent=2)


BEHIND_ONE_URL = (
    "one base URL: if a load balancer is behind it, the server that answered is not visible here; use each server's "
    "own metrics, or give every server with its own --base-url"
)


def print_endpoints(judgement: Judgement, console: Console) -> None:
    """Print the requests by endpoint, the fallback, and what is not visible."""
    levels, model = judgement.endpoints.values(), judgement.model
    console.print()
    _print_table(console, tables.ENDPOINTS, tables.endpoint_rows(judgement), f"{model}: requests by endpoint")
    if len({part.endpoint for at in levels for part in at.of("own")}) == 1:
        say(console, BEHIND_ONE_URL, style="dim", indent=2)
    for at in levels:
        if at.imbalance is not None:
            say(console, f"{at.level.at}: imbalance {at.imbalance:.2f} (1 is even)", indent=2)
    if judgement.fallback:
        _print_table(console, tables.FALLBACK, judgement.fallback.items(), f"{model}: fallback")


def print_quality(judgement: Judgement, console: Console) -> None:
    """Print the scores by level and scenario, whether they change with load, and what to know of them."""
    console.print()
    judged = judgement.judged
    if (found := tables.quality_table(judged)) is not None:
        for title, heads, rows in _parted(*found, console.width):
            title = f"{judgement.model}: {title}"
            console.print(table(console, heads, rows, left=tables.QUALITY_WORDS, title=title))
    if (change := tables.load_table(judged)) is not None:
        lowest = next(j.point.level for j in judged if j.quality is not None)
        title = f"Do the answers change with load? Each level against {lowest.at}, on the same items"
        console.print(table(console, *change, left=["answers"], title=title))
    for note in tables.quality_notes(judged):
        say(console, note, style="dim", indent=2)
    scores = None if judgement.run is None else judgement.run.scores
    judging = None if scores is None else fmt.judging_of(scores.facts)
    for line in fmt.judge_lines(judging) if judging else ():
        say(console, line, indent=2)


def _parted(
    heads: tables.Row, rows: list[tables.Row], width: int
) -> Iterator[tuple[str, tables.Row, list[tables.Row]]]:
    """The table of scores, whose intervals never fold: where it is too wide, a level each, and the prices below."""

    def is_wide(heads: tables.Row, rows: list[tables.Row]) -> bool:
        columns = zip(heads, *rows, strict=True)  # a head parts at its words
        longest = sum(max(map(len, [*head.split(), *cells])) for head, *cells in columns)
        return longest + 2 * (len(heads) - 1) > width

    if is_wide(heads, rows):
        rows = [tuple(cell.replace(" %, ", ", ") for cell in row) for row in rows]
    if not is_wide(heads, rows):
        yield "scores", heads, rows
        return
    end = heads.index("score") + 1
    counts = [row[:end] for row in rows]
    if is_wide(heads[:end], counts):
        for level in dict.fromkeys(row[0] for row in counts):
            yield f"scores at {heads[0]} {level}", heads[1:end], [row[1:] for row in counts if row[0] == level]
    else:
        yield "scores", heads[:end], counts
    if heads[end:]:
        prices = [(*row[:2], *row[end:]) for row in rows if row[end] != fmt.DASH]
        yield "what they cost", (*heads[:2], *heads[end:]), prices


GPUS_ONLY = "of the GPUs alone: the host, its fans and its network are not in it"


def print_energy(judgement: Judgement, console: Console) -> None:
    """Print energy, its cost and GPU use per level, as far as they are known, and what limits trust in them."""
    judged, model = judgement.judged, judgement.model
    energies = [(j.point.level, j.energy) for j in judged if j.energy is not None]
    used = [(j.point.level, j.gpu) for j in judged if j.gpu is not None]
    console.print()
    _print_table(console, tables.ENERGY, energies, f"{model}: energy per run of the set")
    if energies:
        _print_table(console, tables.ELECTRICITY, energies)
        pue = fmt.number(energies[0][1].pue)
        say(console, f"{GPUS_ONLY}; PUE {pue}; a rented hour includes electricity", style="dim", indent=2)
    else:
        say(console, "no GPU's power was read and no --assumed-power-kw was given: energy is not known", indent=2)
    if used:
        n = len(used[0][1].uuids)
        several = f" and over {n} GPUs, with the least and the greatest" if n > 1 else ""
        _print_table(console, tables.GPUS, used, f"{model}: GPU use, means over time{several}")
        say(console, tables.ANY_KERNEL, style="dim", indent=2)
    for warn, levels in fmt.same_warnings(code for _, energy in energies for code in energy.codes):
        say(console, f"{warn.code} {fmt.warning_text(warn, levels)}", style="yellow", indent=2)


def energy_line(judged: Sequence[EvaluatedLevel], *, in_columns: bool) -> str | None:
    """Power and energy per output token of each level, or what columns of them are of; None without energy."""
    known = [(j.point.level, j.energy) for j in judged if j.energy is not None]
    if not known:
        return None
    given = ", of the power as given, not measured" if all(e.method == "constant" for _, e in known) else ""
    if in_columns:
        return f"W and J per output token are {GPUS_ONLY}{given}"
    each = [f"{level}: {fmt.number(e.mean_w)} W, {fmt.number(e.j_per_output_token)} J" for level, e in known]
    return f"energy per output token, {GPUS_ONLY}{given}: {'; '.join(each)}"


def print_scaling(judgement: Judgement, console: Console) -> None:
    """Print the levels, the three principles, the boundary and the price of the SLO."""
    found = scaling_of(judgement)
    console.print()
    say(console, f"{found.model or fmt.DASH}    SLO: {found.slo}", style="bold")
    rows = [(one.level, one) for one in found.levels]
    styles = [VERDICT_STYLES[one.slo_verdict] if level == found.optimum else "" for level, one in rows]
    console.print(table(console, *tables.level_table(tables.SCALING, rows), styles=styles))
    for text in scaling_sentences(found):
        say(console, text, indent=2)
    crossings = [(one.users.value, one.limit) for one in found.limits if one.users and one.users.value is not None]
    heads = ("looser", "limit", "optimum", "$ per run", "boundary", "$ there")
    for price in found.prices:
        if any(step.level for step in price.scan) and crossings and price.limit == min(crossings)[1]:
            steps = [
                (
                    f"{one.looser:+.0%}" if one.looser else "today", fmt.number(one.value, 4),
                    str(one.level or fmt.DASH), fmt.usd(one.cost_usd),
                    fmt.number(one.boundary_users), fmt.usd(one.boundary_cost_usd),
                )
                for one in price.scan
            ]  # fmt: skip
            console.print(table(console, heads, steps, title=f"cost against the limit {price.limit}"))
