"""`benchsuite matrix`: sweep a server under several settings, and find the cheapest that meets the SLO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import long_running

if TYPE_CHECKING:
    from benchsuite.economics.matrix_decision import JudgedSetting, SettingsDecision
    from benchsuite.load.matrix import MatrixFolder, Outcome
    from benchsuite.matrix_spec import MatrixSpec, Setting
    from benchsuite.report.matrix import SettingReport
    from benchsuite.workload.dataset import Workload

NOT_MET, FAILED = 3, 1
_KEPT = ("measured", "kept")


@click.command(
    epilog="""\b
Examples:
  benchsuite matrix docs/examples/matrix_llamacpp.toml --dry-run
  benchsuite matrix docs/examples/matrix_llamacpp.toml --output results/slots
  benchsuite matrix vllm.toml --json > matrix.json

\b
The file: [serve] engine, [settings] lists, gpus, [sweep] (docs/METHODS.md, Matrix of server settings).
The same command goes on where it was stopped. In the folder: a run folder for each setting, and the table as
matrix.csv, matrix.md and matrix.json.
"""
)
@click.argument("file", metavar="MATRIX.toml", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="The folder.  [default: results/matrix-NAME]")
@click.option("--dry-run", is_flag=True, help="Print what would be started and measured, and do nothing.")
@click.option("--quiet", is_flag=True, help="Print the decision and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Plain data on stdout; progress goes to stderr.")
@long_running()
def command(file: Path, output: Path | None, dry_run: bool, quiet: bool, as_json: bool) -> int:
    """Start a server under each setting, sweep it, stop it; one table out, and the cheapest setting that meets the SLO.

    Exit codes: 0 a setting meets the SLO, 3 measured, but none does, 2 bad input, 1 stopped, or nothing was measured.
    """
    from rich.console import Console

    from benchsuite.input_files import read_workload
    from benchsuite.load.matrix import check_matrix, open_matrix
    from benchsuite.matrix_spec import load_matrix
    from benchsuite.report.judge import unit_price

    matrix = load_matrix(file)
    first = matrix.sweep_of(matrix.settings[0])
    unit_price(first.price)
    workload = read_workload(first.workload.source, first.workload.requests, first.load.seed)
    check_matrix(matrix, workload)
    path = output or Path("results") / f"matrix-{file.stem.removeprefix('matrix').lstrip('-_') or 'settings'}"
    plan = matrix.plan(workload.content_hash)
    if dry_run:
        return _show_plan(matrix, path, plan, as_json)
    with open_matrix(path, plan) as folder:
        return _run(matrix, workload, folder, Console(stderr=as_json), quiet, as_json)


def _run(matrix: MatrixSpec, workload: Workload, folder: MatrixFolder, console: Any, quiet: bool, as_json: bool) -> int:
    from benchsuite.load.matrix import measure
    from benchsuite.report.console import say
    from benchsuite.report.live import SweepView
    from benchsuite.report.matrix import headline, print_matrix, to_json

    outcomes: dict[str, Outcome] = {}
    judged = {setting.slug: _judge_one(setting, None, folder.path) for setting in matrix.settings}
    slo = str(matrix.sweep_of(matrix.settings[0]).limits)

    def tell(text: str) -> None:
        if not quiet:
            say(console, text, style="cyan")

    with SweepView(quiet=quiet, console=console) as view:
        for outcome in measure(matrix, workload, folder, view, tell):
            outcomes[outcome.setting.slug] = outcome
            judged[outcome.setting.slug] = _judge_one(outcome.setting, outcome, folder.path)
            stopped = outcome.status == "stopped"
            whole = len(outcomes) == len(judged) and not stopped
            found, reports = _decide_so_far(folder, list(judged.values()), slo, "complete" if whole else "running")
    if as_json:
        click.echo(json.dumps(to_json(found, reports, slo), indent=2))
    elif quiet:
        say(console, headline(found, reports))
    else:
        print_matrix(found, reports, slo, console)
        say(console, f"files in {folder.path}: matrix.csv, matrix.md, matrix.json, a run folder a setting", style="dim")
    if stopped:
        click.echo("stopped; the same command goes on where it was", err=True)
    if stopped or all(setting.levels is None for setting in found.settings):
        return FAILED
    return 0 if found.winner is not None else NOT_MET


def _decide_so_far(
    folder: MatrixFolder, judged: list[tuple[JudgedSetting, SettingReport]], slo: str, status: str
) -> tuple[SettingsDecision, list[SettingReport]]:
    """Decide on what there is, and leave the table in the folder: after every setting, for a crash to lose nothing."""
    from benchsuite.economics.matrix_decision import decide_settings
    from benchsuite.report.matrix import to_csv, to_json, to_markdown
    from benchsuite.store.files import write_bytes

    found, reports = decide_settings([setting for setting, _ in judged]), [report for _, report in judged]
    folder.write({"status": status, **to_json(found, reports, slo)})
    write_bytes(folder.path / "matrix.csv", to_csv(found, reports).encode())
    write_bytes(folder.path / "matrix.md", to_markdown(found, reports, slo).encode())
    return found, reports


def _judge_one(setting: Setting, outcome: Outcome | None, folder: Path) -> tuple[JudgedSetting, SettingReport]:
    from benchsuite.economics.matrix_decision import JudgedSetting
    from benchsuite.report.export import summary_json
    from benchsuite.report.judge import judge_run
    from benchsuite.report.matrix import SettingReport, facts_of
    from benchsuite.report.page import write_report
    from benchsuite.store.files import MANIFEST, REPORT, SUMMARY, write_json
    from benchsuite.store.run_folder import read_run

    status = "not measured yet" if outcome is None else outcome.status
    problem = None if status in _KEPT else _problem(outcome)
    judgement, facts = None, {}
    if outcome is not None and (outcome.path / MANIFEST).exists():
        run = read_run(outcome.path)
        facts = facts_of(run)
        if run.manifest.complete_points:
            judgement = judge_run(run)
            if not (outcome.path / SUMMARY).exists():
                write_json(outcome.path / SUMMARY, summary_json(judgement))
            if not (outcome.path / REPORT).exists():
                write_report(judgement)
    where = "" if outcome is None or not outcome.path.exists() else str(outcome.path.relative_to(folder))
    judged = JudgedSetting(setting.name, setting.gpus, judgement, problem)
    return judged, SettingReport(setting.values, setting.serve, status, where, facts)


def _problem(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not measured yet"
    return outcome.status + (f": {outcome.reason}" if outcome.reason else "")


def _show_plan(matrix: MatrixSpec, path: Path, plan: dict[str, Any], as_json: bool) -> int:
    """The settings in the order in which they are measured, and what is there already."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from benchsuite.load.matrix import MatrixFolder, measuring_order, read_plan
    from benchsuite.report.console import say

    if as_json:
        click.echo(json.dumps(plan, indent=2, default=str))
        return 0
    console, folder = Console(), MatrixFolder(path, plan)
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for head in ("setting", "GPUs", "started by", "there"):
        table.add_column(head, justify="right" if head == "GPUs" else "left", overflow="fold")
    for setting in measuring_order(matrix):
        kept = folder.kept_run(setting, matrix.sweep_of(setting)) if path.exists() else None
        table.add_row(*(Text(t) for t in (setting.name, str(setting.gpus), setting.serve, kept.name if kept else "-")))
    console.print(table)
    load = matrix.sweep_of(matrix.settings[0]).load
    levels = ", ".join(str(level) for level in load.concurrency)
    runs = f"{load.repeats} run{'s' * (load.repeats > 1)}"
    say(console, f"{len(matrix.settings)} settings, in this order, at {levels} users, {runs} a level, into {path}")
    before = read_plan(path) if path.exists() else None
    if before is not None and before.get("content_hash") != plan["content_hash"]:
        say(console, f"{path} holds another matrix; name another --output", style="yellow")
    return 0
