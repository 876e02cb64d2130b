"""`benchsuite report`: write a run's report again, or several runs' comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from benchsuite.cli.curves import Curve
    from benchsuite.economics.frontier import Placed

_COMPARISON = Path("comparison.html")


@click.command(
    epilog="""\b
Examples:
  benchsuite report results/mine --open
  benchsuite report results/a results/b --scores scores.csv
  benchsuite report --points docs/examples/paper_table4.csv --scores docs/examples/paper_scores.csv \\
      --usd-per-hour 1.58 --output paper.html
"""
)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--points", type=click.Path(path_type=Path), help="A CSV table of points instead of run folders.")
@click.option("--scores", type=click.Path(path_type=Path), help="Compare: a CSV table of the models' scores.")
@click.option("--slo", help="Compare: for example 'ttft_mean<1s,throughput>20'.  [default: the runs', or that]")
@click.option("--usd-per-hour", type=float, help="Compare: price of one GPU-hour.  [default: the runs']")
@click.option("--preset", help="Compare: a price by name; see `benchsuite cost --list-presets`.")
@click.option("--prices", type=click.Path(path_type=Path), help="Compare: your own price file (TOML).")
@click.option("--gpus", type=click.IntRange(min=1), help="Compare: GPUs that the price is for.")
@click.option("--output", type=click.Path(path_type=Path), help=f"Compare: the file.  [default: {_COMPARISON}]")
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
def command(runs: tuple[Path, ...], points: Path | None, show: bool, **flags: Any) -> int:
    """Write report.html into the run folder RUN; of several runs, or a table of points, one page that compares them.

    Prints the path of what was written.
    """
    if len(runs) == 1 and points is None:
        given = next((name for name, value in flags.items() if value is not None), None)
        if given is not None:
            raise click.UsageError(
                f"--{given.replace('_', '-')} belongs to a comparison of several runs, or to --points."
            )
        from benchsuite.report.page import write_report

        path = write_report(runs[0])
    else:
        path = flags["output"] or _COMPARISON
        _write_comparison(path, runs, points, flags)
    click.echo(path)
    if show:
        click.launch(str(path))
    return 0


def _write_comparison(path: Path, runs: tuple[Path, ...], points: Path | None, flags: dict[str, Any]) -> None:
    from benchsuite.cli.curves import Price, read_curves, unlike
    from benchsuite.report.comparison import render_comparison
    from benchsuite.report.sections.compare import Contender
    from benchsuite.store import write_bytes

    price = Price(flags["usd_per_hour"], flags["preset"], flags["gpus"], flags["prices"])
    curves = read_curves(runs, points, flags["slo"], price)
    names = [curve.model for curve in curves]
    contenders = [
        Contender(
            curve.model if names.count(curve.model) == 1 else Path(curve.source).name,
            curve.source,
            curve.judged,
            curve.decision,
            curve.slo,
            curve.usd_per_hour_total,
        )
        for curve in curves
    ]
    placed = [] if flags["scores"] is None else _placed(curves, flags["scores"])
    write_bytes(path, render_comparison(contenders, placed, unlike(curves), price.told()).encode())


def _placed(curves: list[Curve], scores: Path) -> list[Placed]:
    from benchsuite.cli.frontier import place

    return place(curves, scores)
