"""`benchsuite matrix`: sweep a server under several settings, and find the cheapest that meets the SLO."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchsuite.cli.options import (
    FAILED,
    PATH,
    columns_option,
    exit_code,
    json_option,
    long_running,
    output_option,
    print_json,
    quiet_option,
)

if TYPE_CHECKING:
    from benchsuite.matrix_spec import MatrixSpec
    from benchsuite.workload.dataset import Workload


@click.command(
    epilog="""\b
Examples:
  benchsuite matrix docs/examples/matrix_llamacpp.toml --dry-run
  benchsuite matrix docs/examples/matrix_llamacpp.toml --output results/slots
  benchsuite matrix vllm.toml --find
  benchsuite matrix vllm.toml --json > matrix.json

\b
The file: [serve] engine, [settings] lists, gpus, [sweep] (docs/METHODS.md, Matrix of server settings).
The same command resumes where it was stopped. In the folder: a run folder for each setting, and the table as
matrix.csv, matrix.md and matrix.json.
"""
)
@click.argument("file", metavar="MATRIX.toml", type=PATH)
@output_option("The folder.  [default: results/matrix-NAME]")
@click.option("--dry-run", is_flag=True, help="Print what would be started and measured, and do nothing.")
@click.option("--find", is_flag=True, help="Search each setting for its cheapest level, and give up the dear ones.")
@columns_option
@quiet_option
@json_option
@long_running()
def command(
    file: Path, output: Path | None, dry_run: bool, find: bool, columns: str | None, quiet: bool, as_json: bool
) -> int:
    """Start, sweep and stop a server under each setting; name the cheapest setting that meets the SLO.

    Exit codes: 0 the named setting is proven to meet the SLO, 6 that is undecided, 3 none meets it, 2 bad
    input, 1 stopped, or nothing was measured.
    """
    from benchsuite.api import matrix, read_matrix
    from benchsuite.report.console import Console, say
    from benchsuite.report.matrix import headline, print_matrix, to_json
    from benchsuite.report.terminal import parse_columns

    shown = parse_columns(columns)
    if dry_run:
        return _show_plan(*read_matrix(file, output, find=find), as_json)
    console = Console(stderr=as_json)
    run = matrix(file, output=output, find=find, quiet=quiet, console=console)
    if as_json:
        print_json(to_json(run.decision, run.slo))
    elif quiet:
        say(console, headline(run.decision))
    else:
        print_matrix(run.decision, run.slo, console, shown)
        say(console, f"files in {run.path}: matrix.csv, matrix.md, matrix.json, a run folder a setting", style="dim")
    if run.stopped:
        click.echo("stopped; the same command resumes", err=True)
    if run.stopped or all(setting.levels is None for setting in run.decision.settings):
        return FAILED
    return exit_code([run.decision.verdict])


def _show_plan(matrix: MatrixSpec, workload: Workload, path: Path, as_json: bool) -> int:
    """The settings in the order in which they are measured, and what is there already."""
    from benchsuite.load.matrix import MatrixFolder, measuring_order, read_plan
    from benchsuite.redact import json_text
    from benchsuite.report.console import Console, say, table

    plan = matrix.plan(workload.content_hash)
    if as_json:
        click.echo(json_text(plan, default=str))
        return 0
    console, folder, rows = Console(), MatrixFolder(path, plan), []
    for setting in measuring_order(matrix):
        kept = folder.kept_run(setting, matrix.sweep_of(setting)) if path.exists() else None
        rows.append((setting.name, str(setting.gpus), setting.serve, kept.name if kept else "-"))
    heads = ("setting", "GPUs", "started by", "run folder")
    console.print(table(console, heads, rows, left=("setting", "started by", "run folder")))
    spec = matrix.sweep_of(matrix.settings[0])
    load, find = spec.load, spec.find
    order = f"{len(matrix.settings)} settings, in this order"
    if find is None:
        levels = ("rates " if load.rate else "concurrency ") + ", ".join(map(str, load.levels))
        runs = f"{load.repeats} run{'s' * (load.repeats > 1)}"
        say(console, f"{order}, at {levels}, {runs} a level, into {path}")
    else:
        each = f"at most {find.budget_min:g} min of probes each, {len(rows) * find.budget_min:g} min in all"
        say(console, f"{order}, each searched from {find.range[0]:g} to {find.range[1]:g}, {each}, into {path}")
    before = read_plan(path) if path.exists() else None
    if before is not None and before != plan:
        say(console, f"{path} holds another matrix; name another --output", style="yellow")
    return 0
