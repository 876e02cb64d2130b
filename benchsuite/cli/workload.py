"""`benchsuite workload`: make or describe a request set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from benchsuite.cli.options import json_option

if TYPE_CHECKING:
    from rich.table import Table

    from benchsuite.workload.dataset import ScenarioStats

BARS = " ▁▂▃▄▅▆▇█"


@click.group("workload")
def command() -> None:
    """Make or describe a request set."""


@command.command("make")
@click.argument("kind", type=click.Choice(["wineval"]))
@click.option("--requests", type=click.IntRange(min=1), default=None, help="How many requests.  [default: 2993]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, another set.")
@click.option("--output", metavar="FILE", default="-", show_default=True, help="The JSONL file; - is stdout.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
def make(kind: str, requests: int | None, seed: int, output: str, force: bool) -> None:
    """Write a generated request set as native JSONL; the same options give the same bytes.

    \b
    Examples:
      benchsuite workload make wineval --output wineval.jsonl
      benchsuite workload make wineval --requests 64 --output workloads/wineval-64.jsonl
      benchsuite workload make wineval --requests 3 | head -c 400
    """
    from benchsuite.input_files import read_workload, write_workload

    workload = read_workload(kind, requests, seed)
    write_workload(workload, output, force=force)
    if output != "-":
        click.echo(f"{output}: {len(workload.prompts)} requests, sha256 {workload.content_hash}", err=True)


@command.command("describe")
@click.argument("source", metavar="FILE|wineval")
@click.option("--requests", type=click.IntRange(min=1), default=None, help="Only (or, past the end, again) so many.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the generated set.")
@json_option
def describe(source: str, requests: int | None, seed: int, as_json: bool) -> None:
    """Show lengths, output caps and languages per scenario. Input tokens are estimated from the text.

    \b
    Examples:
      benchsuite workload describe wineval
      benchsuite workload describe workloads/wineval-64.jsonl --json
    """
    from benchsuite.input_files import read_workload
    from benchsuite.workload.dataset import describe as stats_of

    workload = read_workload(source, requests, seed)
    if as_json:
        import json
        from dataclasses import asdict

        rows = [asdict(row) for row in stats_of(workload)]
        document = {"name": workload.name, "content_hash": workload.content_hash, "scenarios": rows}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console()
    console.print(
        _table(workload.name, stats_of(workload, bins=10)), f"sha256 {workload.content_hash}", sep="\n", highlight=False
    )


def _table(name: str, stats: list[ScenarioStats]) -> Table:
    from rich.table import Table

    from benchsuite.report.console import plain

    # 80 columns must hold it, so no borders, no share and no median of the caps: --json has them.
    table = Table(title=plain(f"{name}: tokens per request"), box=None, padding=(0, 1, 0, 0))
    table.add_column("\nscenario", no_wrap=True)
    for heading in ("\nn", "input*\nmean", "\np50", "\np95", "\nmax", "cap\nmean", "\np95", "\nmax", "\nzh %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("input*\n(log)", no_wrap=True)
    for row in stats:
        inputs, caps = row.input_tokens, row.max_output_tokens
        table.add_row(
            plain("all" if row.total else row.scenario or "(none)"),
            str(row.n),
            *map(_cell, (inputs.mean, inputs.p50, inputs.p95, inputs.max, caps.mean, caps.p95, caps.max)),
            f"{row.language_share['zh'] * 100:.0f}",
            _sparkline(row.histogram),
        )
    table.caption = "* estimated from the text; cap: max_output_tokens"
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _sparkline(counts: tuple[int, ...]) -> str:
    """One bar per count; a count above 0 is never invisible."""
    top = max(counts)
    return "".join(BARS[-(-count * (len(BARS) - 1) // top)] for count in counts)
