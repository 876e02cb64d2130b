"""`benchsuite check`: runs that were disturbed, named; and how cost and speed scale."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import gathered, json_option, judging_options, print_json
from benchsuite.level import as_plain

if TYPE_CHECKING:
    from benchsuite.report.judge import Judgement

FOUND = 4  # exit code of --strict: something was found


@click.command(
    epilog="""\b
Examples:
  benchsuite check results/RUN
  benchsuite check --levels-csv docs/examples/paper_table4.csv --usd-per-hour 1.58
  benchsuite check --levels-csv T.csv --scaling --json
  benchsuite check results/RUN --attribution
  benchsuite check results/RUN --balance
  benchsuite check results/RUN --quality
  benchsuite check results/RUN --energy --usd-per-kwh 0.2 --pue 1.3 --gco2-per-kwh 380
  benchsuite check results/RUN --strict && echo sound"""
)
@judging_options(energy=True)
@gathered(
    "tables",
    click.option("--scaling", is_flag=True, help="Also the scaling law, the zone of lowest cost, the SLO's cost."),
    click.option("--attribution", is_flag=True, help="Also parts of TTFT and the server's load (run folders only)."),
    click.option("--balance", is_flag=True, help="Also requests by endpoint, the fallback and its cost."),
    click.option("--quality", is_flag=True, help="Also scores of the answers by scenario and load (run folders only)."),
    click.option("--energy", is_flag=True, help="Also energy, electricity, carbon and GPU use (run folders only)."),
)
@click.option("--strict", is_flag=True, help="Exit with code 4 when anything is found.")
@json_option
def command(asked: dict[str, Any], price: dict[str, Any], tables: dict[str, bool], strict: bool, as_json: bool) -> int:
    """List every warning on measured levels, each with its effect and its remedy.

    --json prints a list of {model, concurrency, code, severity, finding, effect, remedy}; with a further table an
    object with the lists `warnings` and `scaling`, `attribution` and `server_use`, `balance`, `quality`, or `energy`.
    Exit codes: 0 checked, whatever was found; 2 bad input; with --strict 4 if anything was found.
    """
    from benchsuite.api import decide
    from benchsuite.errors import PointsError

    judgements = decide(*asked.pop("runs"), **asked, **price)
    wanted = {name for name, flag in tables.items() if flag}
    if asked["levels_csv"] is not None and (of_runs := sorted(wanted - {"scaling"})):
        what = "a table of levels has no requests or telemetry"
        raise PointsError(what, where=f"--{of_runs[0]}", expected="run folders")
    if "scaling" in wanted and (of_rates := [one for one in judgements if one.of_rates]):
        what = "how output scales with users is a question to a closed loop, and rates have no users"
        hint = "decide RATES --capacity RUN compares rates with a closed loop"
        raise PointsError(what, where="--scaling", given=of_rates[0].source, expected="concurrency levels", hint=hint)
    found = [
        {"model": one.model, **level.point.level.named()}
        | {name: getattr(warn, name) for name in ("code", "severity", "finding", "effect", "remedy")}
        for one in judgements
        for level in one.judged
        for warn in level.point.warnings
    ]
    if as_json:
        further = _tables(judgements, wanted)
        print_json({"warnings": found} | further if further else found)
    else:
        _print(judgements, found, wanted)
    return FOUND if strict and found else 0


def _tables(judgements: list[Judgement], wanted: set[str]) -> dict[str, list[dict[str, Any]]]:
    """What was asked for beside the warnings, as plain data."""
    from benchsuite.report.export import balance_json, point_json, quality_json
    from benchsuite.report.judge import ttft_breakdown
    from benchsuite.report.sections_cost import scaling_of

    of: dict[str, Callable[[Judgement], Iterable[Any]]] = {
        "scaling": lambda one: [scaling_of(one)],
        "attribution": ttft_breakdown,
        "server_use": lambda one: one.server_use,
        "balance": lambda one: [at.named() | balance_json(one, at) for at in one.endpoints],
        "quality": lambda one: [
            j.point.level.named() | quality_json(j.quality) for j in one.judged if j.quality is not None
        ],
        "energy": lambda one: [
            j.point.level.named() | {key: point_json(j)[key] for key in ("energy", "gpu")} for j in one.judged
        ],
    }
    wanted = wanted | {"server_use"} if "attribution" in wanted else wanted
    return {
        name: [{"model": one.model} | as_plain(row) for one in judgements for row in rows(one)]
        for name, rows in of.items()
        if name in wanted
    }


def _print(judgements: list[Judgement], found: list[dict[str, Any]], wanted: set[str]) -> None:
    from benchsuite.report.console import Console, say, table
    from benchsuite.report.format import level_head
    from benchsuite.report.terminal import (
        print_breakdown,
        print_endpoints,
        print_energy,
        print_quality,
        print_scaling,
    )

    console = Console()
    for one in judgements if "scaling" in wanted else ():
        print_scaling(one, console)
    for one in judgements:
        own = [row for row in found if row["model"] == one.model]
        say(console, f"{one.model}: {len(own) or 'nothing'} found", style="bold" if own else "bold green")
        if own:
            heads = (level_head(j.point.level for j in one.judged), "code", "finding")
            rows = [
                [
                    f"{row.get('concurrency', row.get('rate_per_s')):g}",
                    row["code"],
                    f"{row['finding']}; {row['effect']}",
                ]
                for row in own
            ]
            console.print(table(console, heads, rows, left=("code", "finding"), header=False))
    for code in sorted({row["code"] for row in found}):
        for remedy in dict.fromkeys(row["remedy"] for row in found if row["code"] == code):
            say(console, f"{code}: {remedy}", style="yellow", indent=2)
    further = {
        "attribution": print_breakdown,
        "balance": print_endpoints,
        "quality": print_quality,
        "energy": print_energy,
    }
    for name, show in further.items():
        for one in judgements if name in wanted else ():
            show(one, console)
