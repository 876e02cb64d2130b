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
"""
)
@click.argument("run", type=PATH)
@slo_option("Limits that every level must keep.  [default: the run's; with --baseline none]")
@goodput_option
@click.option("--baseline", type=PATH, help="The run folder to compare with.")
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
    regressions: str | None,
    levels: list[int],
    reporting: dict[str, Any],
) -> int:
    """Hold the run folder RUN against its SLO, or against a BASELINE run with margins.

    Three results: pass (proven), fail (proven), inconclusive (neither: repeat; the message says how often). A baseline
    of another machine, driver, model, workload or set of levels is refused. Exit codes: 0 pass, 5 fail,
    6 inconclusive, 2 bad input.
    """
    from benchsuite.manifest import BASELINE_GROUPS
    from benchsuite.report.gate import GUARDS_ALONE, gate, headline, lines, parse_regressions, plain
    from benchsuite.report.judge import judge_run
    from benchsuite.store.run_folder import read_run

    if baseline is None and regressions is not None:
        raise click.UsageError("--max-regression needs a --baseline.")
    check_allowed(reporting["allow"], BASELINE_GROUPS)
    margins = parse_regressions(regressions) if regressions is not None else ()
    judged = judge_run(read_run(run), slo=slo or (None if baseline is None else GUARDS_ALONE), goodput=goodput)
    other = None if baseline is None else judge_run(read_run(baseline), slo=str(judged.slo), price=judged.price)
    result = gate(judged, other, regressions=margins, levels=levels, allowed=reporting["allow"])
    if reporting["as_json"]:
        print_json(plain(result))
    else:
        click.echo("\n".join([*lines(result), headline(result, reporting["inconclusive"])]))
    return ended(result, reporting)
