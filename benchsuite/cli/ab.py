"""`benchsuite ab`: two builds, engines or settings measured in turn until their difference is decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from benchsuite.cli.gate import check_allowed, ended, report_options
from benchsuite.cli.options import FAILED, PATH, long_running, output_option, print_json, quiet_option
from benchsuite.cli.spec_options import SpecCommand, spec_options


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
@click.option("--serve-timeout-s", type=float, help="When starting it is given up.  [default: 1800]")
@click.option("--metrics", help="Figures to decide: ttft_p95=10%,cost.  [default: cost, TTFT]")
@click.option("--margin", help="Smaller differences do not matter.  [default: 5%; 10% for p95, p99 and max]")
@click.option("--budget-min", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True,
              help="Minutes after which no further round begins.")  # fmt: skip
@click.option("--restarts", type=click.IntRange(min=1), help="Start each server so often at most.  [default: budget]")
@output_option("The folder of both run folders, A and B.  [default: results/ab-TIME]")
@report_options("What may differ between the arms: machine,driver,model,workload,client,protocol,...")
@quiet_option
@long_running()
def command(arms: tuple[Path, ...], quiet: bool, reporting: dict[str, Any], **flags: Any) -> int:
    """Measure two servers in turn, in balanced order with the same requests, until their difference is decided.

    ARMS are two sweep.toml (or one for both, with two --base-url or two --serve), or two run folders of such a session,
    which are judged again. Servers that are started here are started anew for each of their rounds: then the
    restart is what is repeated. With --slo B is also held to its limits. Exit codes as for `gate`: 0 B is not slower,
    5 it is, 6 undecided; 2 bad input, 1 measuring failed.
    """
    from benchsuite import api
    from benchsuite.manifest import ARM_GROUPS
    from benchsuite.report.console import Console, say, table

    check_allowed(reporting["allow"], ARM_GROUPS)
    as_json, urls = reporting["as_json"], flags.pop("base_url", None) or ()
    run = api.ab(
        *arms, base_url=[urls] if isinstance(urls, str) else urls, allow=reporting["allow"], quiet=quiet or as_json,
        console=Console(stderr=as_json), **flags,
    )  # fmt: skip
    for failure in run.failures:
        click.echo(f"error: {failure}", err=True)
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
