"""`benchsuite runs`: the run folders below a folder, each with what it measured and what was decided."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchsuite.cli.options import PATH, json_option, print_json

_MOST_FOLDERS, _DEEPEST = 10_000, 3


@click.command(
    epilog="""\b
Examples:
  benchsuite runs
  benchsuite runs results/matrix-slots --json
"""
)
@click.argument("folder", default="results", type=PATH)
@json_option
def command(folder: Path, as_json: bool) -> int:
    """List run folders, the newest first: model, server, date, SLO, decision.

    Searches up to three levels below FOLDER (default: results); nothing is judged again.
    """
    from benchsuite.errors import InputError
    from benchsuite.report.console import Console, say, table
    from benchsuite.report.format import plural

    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), expected="a folder with run folders, such as results")
    found = sorted((_row(path) for path in _run_folders(folder)), key=lambda row: row["date"] or "", reverse=True)
    if as_json:
        print_json(found)
        return 0
    console = Console()
    heads = ("run", "model", "server", "date", "SLO", "decision")
    rows = [[str(row[head.lower()] or "-") for head in heads] for row in found]
    console.print(table(console, heads, rows, left=heads, wide=("server", "SLO")))
    say(console, f"{plural(len(found), 'run')} in {folder}; `benchsuite decide RUN` judges one again", style="dim")
    return 0


def _run_folders(folder: Path) -> Iterator[Path]:
    """The folders with a manifest, without those that links lead to."""
    for path, below, files in itertools.islice(os.walk(folder), _MOST_FOLDERS):
        depth = len(Path(path).relative_to(folder).parts)
        if "manifest.json" in files:
            yield Path(path)
        below[:] = sorted(below) if depth < _DEEPEST and "manifest.json" not in files else []


def _row(path: Path) -> dict[str, Any]:
    """What the manifest and summary.json of a run say; a folder that cannot be read says why."""
    from benchsuite.errors import PointsError
    from benchsuite.store.files import SUMMARY, json_in
    from benchsuite.store.run_folder import read_manifest

    row: dict[str, Any] = dict.fromkeys(("model", "server", "date", "slo", "status"))
    try:
        manifest = read_manifest(path)
    except PointsError as error:
        return {"run": str(path), **row, "decision": f"cannot be read: {error.what}"}
    row |= {"model": manifest.model, "server": manifest.server_probe.name or None, "status": manifest.status}
    row |= {"date": (manifest.created or "")[:16].replace("T", " ") or None, "slo": manifest.spec.get("slo")}
    try:
        decision = _decision(json_in(path / SUMMARY))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        done, planned = len(manifest.complete_points), len(manifest.planned_points)
        decision = "not judged" if done >= planned else f"{manifest.status}: {done} of {planned} points"
    return {"run": str(path), **row, "decision": decision}


def _decision(summary: Any) -> str:
    """'16: met, $3.20/1M output tokens', 'no level: not met'. Raises KeyError and others where it is no summary."""
    from benchsuite.report.format import usd

    optimum = summary["optimum"]
    if optimum is None:
        return f"no level: {summary['no_feasible']['verdict']}"
    price = optimum["usd_per_1m_output_tokens"]
    level = optimum["concurrency"] if "concurrency" in optimum else f"{optimum['rate_per_s']:g} req/s"
    return f"{level}: {optimum['verdict']}" + (f", {usd(float(price))}/1M output" if price else "")
