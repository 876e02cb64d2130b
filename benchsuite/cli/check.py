"""`benchsuite check`: runs that were disturbed, named; and how cost and speed scale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from benchsuite.cli.options import energy_price_flags

FOUND = 4  # exit code of --strict: something was found


@click.command(
    epilog="""\b
Examples:
  benchsuite check results/RUN
  benchsuite check --points docs/examples/paper_table4.csv --usd-per-hour 1.58
  benchsuite check --points T.csv --scaling --json
  benchsuite check results/RUN --attribution
  benchsuite check results/RUN --balance
  benchsuite check results/RUN --energy --usd-per-kwh 0.2 --pue 1.3 --gco2-per-kwh 380
  benchsuite check results/RUN --strict && echo sound"""
)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--points", type=click.Path(path_type=Path), help="A CSV table of points instead of run folders.")
@click.option("--slo", help="For example 'ttft_mean<1s,throughput>20'.  [default: the run's, or that]")
@click.option("--usd-per-hour", type=float, help="Price of one GPU-hour.  [default: the run's]")
@click.option("--preset", help="A price by name, bundled or of --prices; see `benchsuite cost --list-presets`.")
@click.option("--prices", type=click.Path(path_type=Path), help="Your own prices (TOML), before the bundled ones.")
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs that the price is for.  [default: the run's, or 1]")
@click.option("--scaling", "with_scaling", is_flag=True, help="Also the scaling law, the zone, the price of the SLO.")
@click.option("--attribution", is_flag=True, help="Also where TTFT goes, and how full the server was, of run folders.")
@click.option("--balance", is_flag=True, help="Also who answered: requests by endpoint, the fallback and its cost.")
@click.option("--energy", is_flag=True, help="Also energy, electricity, carbon and GPU use of run folders.")
@energy_price_flags
@click.option("--strict", is_flag=True, help="Exit with 4 when anything is found.")
@click.option("--json", "as_json", is_flag=True, help="Plain data on stdout.")
def command(
    runs: tuple[Path, ...],
    points: Path | None,
    slo: str | None,
    usd_per_hour: float | None,
    preset: str | None,
    prices: Path | None,
    gpus: int | None,
    with_scaling: bool,
    attribution: bool,
    balance: bool,
    energy: bool,
    strict: bool,
    as_json: bool,
    **energy_price: float | None,
) -> int:
    """Name what forbids, or limits, trust in measured levels: one list of findings, each with its remedy.

    --json prints a list of {model, concurrency, code, finding, remedy}; with a further table an object with the lists
    `warnings` and `scaling`, `attribution` and `server_use`, `balance`, or `energy`. Exit codes: 0 checked, whatever
    was found; 2 bad input; with --strict 4 if something was.
    """
    from benchsuite.cli.curves import Price, read_curves

    curves = read_curves(runs, points, slo, Price(usd_per_hour, preset, gpus, prices, **energy_price))
    found = [row for curve in curves for row in _warnings(curve)]
    scaled = [_scaling(curve) for curve in curves] if with_scaling else []
    parts = _attribution(curves) if attribution else []
    balances = [(curve.model, curve.balance) for curve in _runs_alone(curves, "--balance")] if balance else []
    of_runs = _runs_alone(curves, "--energy") if energy else []
    if as_json:
        tables = (_plain(scaled) if with_scaling else {}) | (_plain_parts(parts) if attribution else {})
        tables |= _plain_balances(balances) if balance else {}
        tables |= _plain_energy(of_runs) if energy else {}
        click.echo(json.dumps({"warnings": found} | tables if tables else found, indent=2, allow_nan=False))
    else:
        _print(found, [curve.model for curve in curves], scaled)
        _print_parts(parts)
        _print_balances(balances)
        _print_energy(of_runs if energy else [])
    return FOUND if strict and found else 0


def _warnings(curve: Any) -> list[dict[str, Any]]:
    from benchsuite.economics.decision import with_level_warnings

    points = with_level_warnings([j.point for j in curve.judged], curve.slo, curve.hourly)
    return [
        {
            "model": curve.model,
            "concurrency": point.concurrency,
            "code": warn.code,
            "finding": warn.finding,
            "remedy": warn.remedy,
        }
        for point in points
        for warn in point.warnings
    ]


def _scaling(curve: Any) -> Any:
    from benchsuite.economics.scaling import scaling
    from benchsuite.report.sections_scaling import points_by_repeat
    from benchsuite.store.run_folder import read_run

    # the facts of a run are known of run folders alone
    repeats = [] if curve.facts is None else points_by_repeat(read_run(Path(curve.source)), curve.model)
    p_met = {j.point.concurrency: j.p_met for j in curve.judged if j.p_met is not None}
    points = [j.point for j in curve.judged]
    return scaling(points, curve.slo, curve.hourly, repeats=repeats, p_met=p_met)


def _plain(scaled: list[Any]) -> dict[str, Any]:
    import dataclasses

    return {"scaling": [dataclasses.asdict(one) for one in scaled]}


def _runs_alone(curves: list[Any], flag: str) -> list[Any]:
    from benchsuite.errors import PointsError

    if any(curve.facts is None for curve in curves):
        raise PointsError("a table of points has no telemetry", where=flag, expected="run folders")
    return curves


def _plain_energy(curves: list[Any]) -> dict[str, Any]:
    from benchsuite.report.terminal import energy_rows

    return {"energy": [{"model": curve.model} | row for curve in curves for row in energy_rows(curve.judged)]}


def _print_energy(curves: list[Any]) -> None:
    from benchsuite.report.terminal import print_energy

    for curve in curves:
        print_energy(curve.model, curve.judged)


def _plain_balances(balances: list[tuple[str, Any]]) -> dict[str, Any]:
    from benchsuite.report.judge import balance_json

    return {
        "balance": [
            {"model": model, "concurrency": level} | balance_json(found, level)
            for model, found in balances
            for level in found.levels
        ]
    }


def _print_balances(balances: list[tuple[str, Any]]) -> None:
    from benchsuite.report.judge import print_balance

    for model, found in balances:
        print_balance(model, found)


def _attribution(curves: list[Any]) -> list[tuple[str, list[Any], list[Any]]]:
    """(model, where TTFT goes, how full the server was) of each run folder. Raises PointsError for a table."""
    from benchsuite.errors import PointsError
    from benchsuite.report.terminal import attribution_of
    from benchsuite.store.run_folder import read_run

    if any(curve.facts is None for curve in curves):  # the facts of a run are known of run folders alone
        raise PointsError("a table of points has no requests", where="--attribution", expected="run folders")
    return [(curve.model, *attribution_of(read_run(Path(curve.source)))) for curve in curves]


def _plain_parts(parts: list[tuple[str, list[Any], list[Any]]]) -> dict[str, Any]:
    import dataclasses

    return {
        "attribution": [{"model": model} | dataclasses.asdict(one) for model, found, _ in parts for one in found],
        "server_use": [{"model": model} | dataclasses.asdict(one) for model, _, use in parts for one in use],
    }


def _print_parts(parts: list[tuple[str, list[Any], list[Any]]]) -> None:
    from benchsuite.report.terminal import print_attribution

    for model, found, use in parts:
        print_attribution(model, found, use)


def _print(found: list[dict[str, Any]], models: list[str], scaled: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from benchsuite.report.console import safe, say
    from benchsuite.report.sections_scaling import print_scaling

    console = Console()
    for one in scaled:
        print_scaling(one, console)
    for model in models:
        own = [row for row in found if row["model"] == model]
        say(console, f"{model}: {len(own) or 'nothing'} found", style="bold" if own else "bold green")
        if not own:
            continue
        table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
        for name in ("concurrency", "code", "finding"):
            table.add_column(name, justify="right" if name == "concurrency" else "left", vertical="top")
        for row in own:
            table.add_row(*(safe(console, str(row[name])) for name in ("concurrency", "code", "finding")))
        console.print(table)
    for code in sorted({row["code"] for row in found}):
        for remedy in dict.fromkeys(row["remedy"] for row in found if row["code"] == code):
            say(console, f"{code}: {remedy}", style="yellow", indent=2)
