"""`benchsuite find`: probe a server until the cheapest level that meets the SLO is known."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import (
    FAILED,
    NOT_MET,
    PATH,
    SECONDS,
    UNDECIDED,
    long_running,
    output_option,
    print_json,
    print_line,
    quiet_option,
)
from benchsuite.cli.spec_options import SpecCommand, spec_options

if TYPE_CHECKING:
    from benchsuite.load.search import SearchSpec

_CODES = {"confident": 0, "max_reached": 0, "none_feasible": NOT_MET, "budget_minutes": UNDECIDED}
_CODES |= {"budget_usd": UNDECIDED}


@click.command(
    "find",
    cls=SpecCommand,
    epilog="""\b
Examples:
  benchsuite find --base-url http://127.0.0.1:8000 --slo "ttft_p95<500ms,tpot_mean<50ms" --usd-per-hour 1.99
  benchsuite find sweep.toml --budget-min 10 --budget-usd 2
  benchsuite find --serve "vllm Qwen/Qwen3-0.6B -- --max-num-seqs 64" --preset h100-low --high 64
  benchsuite find --base-url http://gpu1:8000 --base-url http://gpu2:8000 --usd-per-hour 1.99 --gpus 2
  benchsuite find --resume results/20261121T120000Z-my-model-1a2b --base-url http://127.0.0.1:8000 --budget-min 30
""",
)
@click.argument("spec", required=False, type=PATH)
@spec_options(of="find")
@output_option()
@click.option("--resume", type=PATH, help="Go on with a search; give its server again, unless it is over.")
@click.option(
    "--serve", metavar="TEXT", help="Start this server, probe it, stop it: 'vllm MODEL -- ARGS'; see `serve`."
)
@click.option("--serve-timeout-s", type=SECONDS, help="Time limit for its start.  [default: 1800]")
@click.option("--print-spec", is_flag=True, help="Print what would be searched as a sweep.toml, and send nothing.")
@click.option("--dry-run", is_flag=True, help="Print the first level and what it costs at most, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="The summary on stdout, everything else on stderr.")
@quiet_option
@long_running()
def command(
    spec: Path | None,
    output: Path | None,
    resume: Path | None,
    serve: str | None,
    serve_timeout_s: float | None,
    print_spec: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> int:
    """Find the cheapest level that meets the SLO: short probes, of which each begins where the last one is at.

    The search ends when a level is good with --confidence: it meets the SLO and costs at most --slack more than the
    cheapest level that does; or when a budget ends. Leaves a run folder, as `sweep` does. Exit codes: 0 such a level is
    found, 6 a budget ended before, 3 no level meets the SLO, 2 bad input, 1 stopped, or the server was lost.
    """
    from benchsuite.api import find_runner, found_again
    from benchsuite.cli.spec_file import toml_of
    from benchsuite.load.launched_sweep import plan_sweep, run_sweep
    from benchsuite.records import UNJUDGED
    from benchsuite.redact import printable
    from benchsuite.report.console import Console, say
    from benchsuite.report.export import search_json, summary_json
    from benchsuite.report.format import search_answer
    from benchsuite.report.live import SweepView
    from benchsuite.report.page import write_judged
    from benchsuite.report.terminal import print_warnings
    from benchsuite.spec import overrides, parse_spec
    from benchsuite.store.run_folder import read_run

    keys, console, failures = overrides(flags), Console(stderr=as_json), tuple[str, ...]()
    if resume is not None and not (spec or print_spec or dry_run) and found_again(resume, keys):
        path = resume
    else:
        asked, plan = plan_sweep(spec, keys, output=output, resume=resume, serve=serve, search=True)
        if print_spec:
            click.echo(toml_of(asked), nl=False)
            return 0
        runner = find_runner(asked)
        if dry_run:
            print_line(_planned(runner.keywords["search"]))
            return 0
        with SweepView(quiet=quiet, console=console) as view:
            result = run_sweep(asked, plan, resume or output, view, ready_timeout_s=serve_timeout_s, runner=runner)
        path, failures = result.path, result.failures
    for failure in failures:
        click.echo(printable(f"error: {failure}"), err=True)
    run = read_run(path, UNJUDGED)
    found = run.manifest.search
    go_on = f"go on: {run.manifest.resume_command(path)}"
    if found is None or found.end is None:
        print_line(go_on, err=True)
        return FAILED
    asked = parse_spec(run.manifest.spec, where=str(path))
    if not quiet:
        say(console, f"{run.manifest.model}    SLO: {asked.limits}", style="bold")
    first, *others = search_answer(run.manifest, asked.limits)
    code = _CODES.get(found.end.reason, FAILED)
    judgement = write_judged(run) if run.manifest.complete_points else None
    say(console, first, style={0: "bold green", NOT_MET: "bold red"}.get(code, "bold yellow"))
    for line in [] if quiet else others:
        say(console, line, indent=2)
    if judgement is not None and not quiet:
        print_warnings(judgement.judged, console, judgement.source, judgement.decision)
        files = "report.html, summary.json, requests.parquet, manifest.json"
        say(console, f"files in {path}: {files}; all levels: benchsuite decide {shlex.quote(str(path))}", style="dim")
    if as_json:
        print_json(search_json(run.manifest) if judgement is None else summary_json(judgement))
    if code == UNDECIDED and asked.find is not None:
        minutes, dollars = 2 * asked.find.budget_min, 2 * (asked.find.budget_usd or 0)
        go_on += f" --budget-usd {dollars:g}" if found.end.reason == "budget_usd" else f" --budget-min {minutes:g}"
    if code in (FAILED, UNDECIDED):
        print_line(go_on, err=True)
    return code


def _planned(search: SearchSpec) -> str:
    """What it would do, and what that costs at most."""
    from benchsuite.level import Level

    first = "32 users, or the server's slots if fewer" if search.kind == "concurrency" else "70 % of what 32 users get"
    if search.start is not None:
        first = Level(search.start, search.kind).words
    minutes, hour_usd = search.budget_s / 60, search.usd_per_hour
    cost = "no price given"
    if hour_usd is not None:
        dollars = min(hour_usd * minutes / 60, search.budget_usd or hour_usd * minutes / 60)
        cost = f"${dollars:.3g} at ${hour_usd:.4g} an hour"
    of = f"levels from {search.low:g} to {search.high:g}"
    return f"the first probe is at {first}; {of}; about {minutes:g} min of probes at most, {cost}"
