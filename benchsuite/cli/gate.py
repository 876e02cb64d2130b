"""`benchsuite gate`: may this run be merged? Against limits, and against a baseline; for CI."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from benchsuite.cli.options import PATH, CommaList, goodput_option, json_option, slo_option

PASSED, FAILED, INCONCLUSIVE = 0, 5, 6  # exit codes; 1 to 4 mean something else in other verbs


@click.command(
    epilog="""\b
Examples:
  benchsuite gate results/mine --slo 'ttft_p95<500ms,output_throughput_per_user>20' --levels 16
  benchsuite gate results/new --baseline results/main --max-regression ttft_p95=10%,cost=5%
  benchsuite gate results/new --baseline results/main --junit gate.xml --summary gate.md
"""
)
@click.argument("run", type=PATH)
@slo_option("Limits that every level must keep.  [default: the run's; with --baseline errors alone]")
@goodput_option
@click.option("--baseline", type=PATH, help="The run folder to compare with.")
@click.option(
    "--max-regression",
    "regressions",
    help="How much worse figures may be: ttft_p95=10%,cost=5%.  [default: cost 5 %, TTFT 10 %]",
)
@click.option("--levels", type=CommaList(), default="", help="Only these concurrency levels: 8,16.  [default: all]")
@click.option(
    "--allow",
    type=CommaList(str),
    default="",
    help="What may differ: machine,driver,model,workload,client,schema,levels.",
)
@click.option("--strict", is_flag=True, help="Undecided counts as failed.")
@click.option("--junit", type=PATH, help="Write JUnit XML there.")
@click.option("--summary", type=PATH, help="Write Markdown there, not to $GITHUB_STEP_SUMMARY.")
@json_option
def command(
    run: Path,
    slo: str | None,
    goodput: str | None,
    baseline: Path | None,
    regressions: str | None,
    levels: list[int],
    allow: list[str],
    strict: bool,
    junit: Path | None,
    summary: Path | None,
    as_json: bool,
) -> int:
    """Hold the run folder RUN against its SLO, or against a BASELINE run with margins.

    Three results: pass (proven), fail (proven), inconclusive (neither: repeat; the message says how often). A baseline
    of another machine, driver, model, workload or set of levels is refused. Exit codes: 0 pass, 5 fail,
    6 inconclusive, 2 bad input.
    """
    import difflib

    from benchsuite.errors import InputError
    from benchsuite.manifest import BASELINE_GROUPS
    from benchsuite.report.gate import (
        ERRORS_ALONE,
        gate,
        headline,
        junit_xml,
        lines,
        markdown,
        parse_regressions,
        plain,
        workflow_commands,
    )
    from benchsuite.report.judge import judge_run
    from benchsuite.store.files import write_bytes
    from benchsuite.store.run_folder import read_run

    if baseline is None and regressions is not None:
        raise click.UsageError("--max-regression needs a --baseline.")
    for word in allow:
        if word not in BASELINE_GROUPS:
            close = difflib.get_close_matches(word, BASELINE_GROUPS, 1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else None
            groups = ", ".join(BASELINE_GROUPS)
            raise InputError("no such difference", where="--allow", given=word, expected=groups, hint=hint)
    margins = parse_regressions(regressions) if regressions is not None else ()
    judged = judge_run(read_run(run), slo=slo or (None if baseline is None else ERRORS_ALONE), goodput=goodput)
    other = None if baseline is None else judge_run(read_run(baseline), slo=str(judged.slo), price=judged.price)
    result = gate(judged, other, regressions=margins, levels=levels, allowed=allow)
    if junit is not None:
        write_bytes(junit, junit_xml(result, strict=strict).encode())
    if summary is not None:
        write_bytes(summary, markdown(result).encode())
    elif os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
            file.write(markdown(result))
    if as_json:
        click.echo(json.dumps(plain(result), indent=2))
    else:
        click.echo("\n".join([*lines(result), headline(result, strict=strict)]))
    if os.environ.get("GITHUB_ACTIONS"):
        click.echo("\n".join(workflow_commands(result)), err=as_json)
    if result.verdict == "inconclusive":
        return FAILED if strict else INCONCLUSIVE
    return FAILED if result.verdict == "fail" else PASSED
