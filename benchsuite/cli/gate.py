"""`benchsuite gate`: may this run be merged? Against limits, and against a baseline; for CI.

`benchsuite ab`: two builds, engines or settings measured in turn until their difference is decided.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import (
    FAILED,
    PATH,
    SECONDS,
    UNDECIDED,
    WORSE,
    CommaList,
    Decorator,
    gathered,
    goodput_option,
    json_option,
    long_running,
    output_option,
    print_json,
    quiet_option,
    slo_option,
)
from benchsuite.cli.spec_options import SpecCommand, spec_options

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
        click.option("--summary", type=PATH, help="Write Markdown there instead of to $GITHUB_STEP_SUMMARY."),
        json_option,
    )


def check_allowed(words: Collection[str], groups: Collection[str]) -> None:
    """Raises InputError for a word that names no difference."""
    from benchsuite.errors import InputError, did_you_mean

    for word in words:
        if word not in groups:
            hint, expected = did_you_mean(word, groups, 0.5), ", ".join(groups)
            raise InputError("no such difference", where="--allow", given=word, expected=expected, hint=hint)


def ended(result: GateResult, reporting: dict[str, Any]) -> int:
    """Write what CI systems read; the exit code."""
    from benchsuite.redact import printable
    from benchsuite.report.gate import junit_xml, markdown, workflow_commands
    from benchsuite.store.files import write_output

    inconclusive, summary = reporting["inconclusive"], reporting["summary"]
    if reporting["junit"] is not None:
        write_output(reporting["junit"], junit_xml(result, strict=inconclusive == "fail"))
    if summary is not None:
        write_output(summary, markdown(result))
    elif os.environ.get("GITHUB_STEP_SUMMARY"):
        try:  # the verdict does not hang on it
            with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
                file.write(markdown(result))
        except OSError as error:
            click.echo(printable(f"warning: the summary of the step cannot be written: {error}"), err=True)
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
  benchsuite gate results/new --history perf/history --anchor perf/anchor --refresh
"""
)
@click.argument("run", type=PATH)
@slo_option("Limits that every level must meet.  [default: the run's; with --baseline or --history none]")
@goodput_option
@click.option("--baseline", type=PATH, help="The run folder to compare with.")
@click.option("--history", type=PATH, help="Folder of earlier runs, for the spread between sessions.")
@click.option("--anchor", type=PATH, help="A fixed run with the same margins, so that small losses do not add up.")
@click.option(
    "--refresh",
    is_flag=True,
    help="For the main branch: a RUN that passes is copied into --history; the first becomes --anchor.",
)
@click.option("--plan", "planning", is_flag=True, help="Only print how many repeats would decide every margin.")
@click.option(
    "--max-regression",
    "regressions",
    help="How much worse figures may be: ttft_p95=10%,cost=5%,score=2pp.  [default: cost 5%, the SLO's latencies 10%]",
)
@click.option("--levels", type=CommaList(float), default="", help="Only these levels or rates: 8,16.  [default: all]")
@report_options("What may differ: machine,driver,model,workload,client,schema,levels.")
def command(
    run: Path,
    slo: str | None,
    goodput: str | None,
    baseline: Path | None,
    history: Path | None,
    anchor: Path | None,
    refresh: bool,
    planning: bool,
    regressions: str | None,
    levels: list[float],
    reporting: dict[str, Any],
) -> int:
    """Compare the run folder RUN with its SLO, or with margins to a BASELINE run or a HISTORY of runs.

    Three results: pass (proven), fail (proven), inconclusive (neither; the message says how many repeats would decide).
    A baseline of another machine, driver, model, workload or set of levels is refused; such a run of the history is
    left out. --refresh copies RUN into --history if it passes, never if it fails, and if it is undecided only while
    there are fewer than 8 runs. No command changes --anchor. Exit codes: 0 pass, 5 fail, 6 inconclusive, 2 bad input.
    """
    from benchsuite.manifest import BASELINE_GROUPS
    from benchsuite.records import UNJUDGED
    from benchsuite.report.comparison import parse_regressions, plan_repeats
    from benchsuite.report.console import Console, say, table
    from benchsuite.report.gate import GUARDS_ALONE, compare, gate, headline, lines, plain
    from benchsuite.report.judge import judge_run
    from benchsuite.store.files import MANIFEST
    from benchsuite.store.run_folder import copy_run, read_run

    if regressions is not None and not (baseline or history or anchor or planning):
        raise click.UsageError("--max-regression needs a --baseline, a --history or an --anchor.")
    if refresh and (planning or baseline is not None or history is None or anchor is None):
        raise click.UsageError("--refresh needs a --history and an --anchor, and goes without --baseline and --plan.")
    limits = slo or (GUARDS_ALONE if baseline or history or anchor else None)
    place = history if anchor is None or anchor.exists() else anchor
    if refresh and anchor is not None and history is not None:  # at first nothing is there
        anchor = anchor if anchor.exists() else None
        history = history if any(history.rglob(MANIFEST)) else None
    if planning and (reporting["junit"] or reporting["summary"]):
        raise click.UsageError("--plan judges nothing: it writes no --junit and no --summary.")
    check_allowed(reporting["allow"], BASELINE_GROUPS)
    chosen = {
        "regressions": parse_regressions(regressions) if regressions is not None else (),
        "levels": levels, "allowed": reporting["allow"], "history": history,
    }  # fmt: skip
    judged = judge_run(read_run(run, UNJUDGED), slo=limits, goodput=goodput)
    other, fixed = (
        None if path is None else judge_run(read_run(path, UNJUDGED), slo=str(judged.slo), price=judged.price)
        for path in (baseline, anchor)
    )
    if planning:
        _, compared, notes, _ = compare(judged, other, fixed, **chosen, alone=True)
        if slo is not None:
            notes.append("limits of --slo are not planned: `benchsuite gate` says of each what would decide it")
        found = plan_repeats(judged, compared, notes)
        if reporting["as_json"]:
            print_json(found)
            return 0
        console = Console()
        heads, rows = found.table()
        console.print(table(console, heads, rows, left=("figure",)))
        for text in found.lines():
            say(console, text, indent=2)
        return 0
    result = gate(judged, other, anchor=fixed, **chosen)
    if refresh and place is not None:
        # an id is another's text: a name, never a path
        target = place / re.sub(r"[^\w-]", "_", result.run_id)[:120] if anchor else place
        if (why_not := "it is there" if target.exists() else result.may_refresh) is None:
            copy_run(run, target)
        note = f"kept in {target}" if why_not is None else f"not kept in {place}: {why_not}"
        result = dataclasses.replace(result, notes=(*result.notes, note))
    if reporting["as_json"]:
        print_json(plain(result))
    else:
        click.echo("\n".join([*lines(result), headline(result, reporting["inconclusive"])]))
    return ended(result, reporting)


@click.command(
    cls=SpecCommand,
    epilog="""\b
Examples:
  benchsuite ab A.toml B.toml --margin 5% --budget-min 30
  benchsuite ab --base-url http://127.0.0.1:8000 --base-url http://127.0.0.1:8001 --metrics ttft_p95=10%,cost
  benchsuite ab --serve "vllm M" --serve "vllm M -- --enable-prefix-caching" --restarts 5 --usd-per-hour 1.99
  benchsuite ab results/ab-1/A results/ab-1/B --junit ab.xml
""",
)
@click.argument("arms", nargs=-1, type=PATH)
@spec_options()
@click.option("--serve", multiple=True, metavar="TEXT", help="Start this server for its rounds; give it twice.")
@click.option("--serve-timeout-s", type=SECONDS, help="Time limit for its start.  [default: 1800]")
@click.option("--metrics", help="Metrics to compare: ttft_p95=10%,cost.  [default: cost, and the SLO's latencies]")
@click.option("--margin", help="Differences below this do not matter.  [default: 5%; 10% for p95, p99 and max]")
@click.option("--budget-min", type=SECONDS, default=60.0, show_default=True,
              help="Minutes after which no further round begins.")  # fmt: skip
@click.option("--restarts", type=click.IntRange(min=1), help="Most starts of each server.  [default: by the budget]")
@output_option("Folder for both run folders, A and B.  [default: results/ab-TIME]")
@report_options("What may differ between the arms: machine,driver,model,workload,client,protocol,...")
@quiet_option
@long_running()
def ab(arms: tuple[Path, ...], quiet: bool, reporting: dict[str, Any], **flags: Any) -> int:
    """Measure two servers in turn, in balanced order with the same requests, until their difference is decided.

    ARMS are two sweep.toml (or one for both, with two --base-url or two --serve), or two run folders of such a session,
    which are judged again. With --serve each server is restarted for each of its rounds, and the restart is the unit
    that is repeated. With --slo B must also meet its limits. Exit codes as for `gate`: 0 B is not slower, 5 it is, 6
    undecided; 2 bad input, 1 measuring failed.
    """
    from benchsuite import api
    from benchsuite.manifest import ARM_GROUPS
    from benchsuite.redact import printable
    from benchsuite.report.console import Console, say, table

    check_allowed(reporting["allow"], ARM_GROUPS)
    as_json, urls = reporting["as_json"], flags.pop("base_url", None) or ()
    run = api.ab(
        *arms, base_url=[urls] if isinstance(urls, str) else urls, allow=reporting["allow"], quiet=quiet or as_json,
        console=Console(stderr=as_json), **flags,
    )  # fmt: skip
    for failure in run.failures:
        click.echo(printable(f"error: {failure}"), err=True)
    result = run.result
    if result is None:
        return FAILED
    console = Console()
    if as_json:
        print_json(result.plain())
    elif not quiet:
        heads, rows = result.table()
        console.print(table(console, heads, rows, left=("figure", "B is")))
        for text in (*(f"differs: {one}" for one in result.differs), *(f"rests on: {one}" for one in result.rests_on)):
            say(console, text, indent=2)
        if result.more:
            say(console, f"more: {result.more}", indent=2)
        if run.path is not None:
            say(console, f"run folders: {run.path / 'A'} and {run.path / 'B'}", style="dim")
    if not as_json:
        say(console, result.headline, style="bold")
    code = ended(result.as_gate(), reporting)
    return FAILED if run.failures else code
