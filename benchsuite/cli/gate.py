"""`benchsuite gate`: may this run be merged? Against limits, and against a baseline; for CI."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import (
    PATH,
    UNDECIDED,
    WORSE,
    CommaList,
    Decorator,
    gathered,
    goodput_option,
    json_option,
    print_json,
    slo_option,
)
from benchsuite.level import as_plain

if TYPE_CHECKING:
    from benchsuite.report.gate import GateResult


def report_options(allow: str) -> Decorator:
    """What a verdict is given to and may overlook, as the command's dict `reporting`. allow: help of --allow."""
    return gathered(
        "reporting",
        click.option("--allow", type=CommaList(str), default="", help=allow),
        click.option(
            "--inconclusive",
            type=click.Choice(["warn", "pass", "fail"]),
            default="warn",
            show_default=True,
            help="What an undecided result does to the build: exit 6 and warnings, exit 0, or exit 5.",
        ),
        click.option("--junit", type=PATH, help="Write JUnit XML there."),
        click.option("--summary", type=PATH, help="Write Markdown there, not to $GITHUB_STEP_SUMMARY."),
        json_option,
    )


def check_allowed(words: Collection[str], groups: Collection[str]) -> None:
    """Raises InputError for a word that names no difference."""
    import difflib

    from benchsuite.errors import InputError

    for word in words:
        if word not in groups:
            close = difflib.get_close_matches(word, groups, 1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else None
            raise InputError("no such difference", where="--allow", given=word, expected=", ".join(groups), hint=hint)


def ended(result: GateResult, reporting: dict[str, Any]) -> int:
    """Write what CI systems read; the exit code."""
    from benchsuite.report.gate import junit_xml, markdown, workflow_commands
    from benchsuite.store.files import write_bytes

    inconclusive, summary = reporting["inconclusive"], reporting["summary"]
    if reporting["junit"] is not None:
        write_bytes(reporting["junit"], junit_xml(result, strict=inconclusive == "fail").encode())
    if summary is not None:
        write_bytes(summary, markdown(result).encode())
    elif os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
            file.write(markdown(result))
    if os.environ.get("GITHUB_ACTIONS"):
        click.echo("\n".join(workflow_commands(result, inconclusive)), err=reporting["as_json"])
    undecided = {"warn": UNDECIDED, "pass": 0, "fail": WORSE}[inconclusive]
    return {"pass": 0, "fail": WORSE, "inconclusive": undecided}[result.verdict]


@click.command(
    epilog="""\b
Examples:
  benchsuite gate results/mine --slo 'ttft_p95<500ms,output_throughput_per_user>20' --levels 16
  benchsuite gate results/new --baseline results/main --max-regression ttft_p95=10%,cost=5%
  benchsuite gate results/new --baseline results/main --junit gate.xml --summary gate.md
  benchsuite gate results/new --history results/nightly
  benchsuite gate results/new --history results/nightly --plan
"""
)
@click.argument("run", type=PATH)
@slo_option("Limits that every level must keep.  [default: the run's; with --baseline or --history none]")
@goodput_option
@click.option("--baseline", type=PATH, help="The run folder to compare with.")
@click.option("--history", type=PATH, help="Earlier runs below a folder: the spread, and what RUN is held against.")
@click.option("--plan", "planning", is_flag=True, help="Judge nothing: how many repeats decide every margin.")
@click.option(
    "--max-regression",
    "regressions",
    help="How much worse figures may be: ttft_p95=10%,cost=5%.  [default: cost 5 %, TTFT 10 %]",
)
@click.option("--levels", type=CommaList(), default="", help="Only these concurrency levels: 8,16.  [default: all]")
@report_options("What may differ: machine,driver,model,workload,client,schema,levels.")
def command(
    run: Path,
    slo: str | None,
    goodput: str | None,
    baseline: Path | None,
    history: Path | None,
    planning: bool,
    regressions: str | None,
    levels: list[int],
    reporting: dict[str, Any],
) -> int:
    """Hold the run folder RUN against its SLO, or against a BASELINE run or a HISTORY of runs with margins.

    Three results: pass (proven), fail (proven), inconclusive (neither: repeat; the message says how often). A baseline
    of another machine, driver, model, workload or set of levels is refused, and such a run of the history left out.
    Exit codes: 0 pass, 5 fail, 6 inconclusive, 2 bad input.
    """
    from benchsuite.manifest import BASELINE_GROUPS
    from benchsuite.report.comparison import parse_regressions, plan
    from benchsuite.report.console import Console, say, table
    from benchsuite.report.gate import GUARDS_ALONE, compare, gate, headline, lines, plain
    from benchsuite.report.judge import judge_run
    from benchsuite.store.run_folder import read_run

    if regressions is not None and baseline is None and history is None and not planning:
        raise click.UsageError("--max-regression needs a --baseline or a --history.")
    if planning and (reporting["junit"] or reporting["summary"]):
        raise click.UsageError("--plan judges nothing: it writes no --junit and no --summary.")
    check_allowed(reporting["allow"], BASELINE_GROUPS)
    chosen = {
        "regressions": parse_regressions(regressions) if regressions is not None else (),
        "levels": levels, "allowed": reporting["allow"], "history": history,
    }  # fmt: skip
    judged = judge_run(read_run(run), slo=slo or (GUARDS_ALONE if baseline or history else None), goodput=goodput)
    other = None if baseline is None else judge_run(read_run(baseline), slo=str(judged.slo), price=judged.price)
    if planning:
        _, compared, notes, _ = compare(judged, other, **chosen, alone=True)
        found = plan(judged, compared, notes)
        if reporting["as_json"]:
            print_json(as_plain(found))
            return 0
        console = Console()
        heads, rows = found.table()
        console.print(table(console, heads, rows, left=("figure",)))
        for text in found.lines():
            say(console, text, indent=2)
        return 0
    result = gate(judged, other, **chosen)
    if reporting["as_json"]:
        print_json(plain(result))
    else:
        click.echo("\n".join([*lines(result), headline(result, reporting["inconclusive"])]))
    return ended(result, reporting)
