"""`benchsuite report`: write a run's report again, or several runs' comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from benchsuite.cli.curves import Curve
    from benchsuite.economics.pareto import ParetoPoint

_COMPARISON = Path("comparison.html")
FORMATS = ("html", "md", "csv", "json", "vllm")


@click.command(
    epilog="""\b
Examples:
  benchsuite report results/mine --open
  benchsuite report results/mine --format md
  benchsuite report results/a results/b --format csv --output levels.csv
  benchsuite report results/mine --format vllm --output mine_vllm
  benchsuite report results/a results/b --scores scores.csv
  benchsuite report --points docs/examples/paper_table4.csv --scores docs/examples/paper_scores.csv \\
      --usd-per-hour 1.58 --output paper.html
"""
)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option("--points", type=click.Path(path_type=Path), help="A CSV table of points instead of run folders.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="html",
    show_default=True,
    help="md: a table for an issue; csv: a row per level; json: summary.json; vllm: files as of vllm bench serve.",
)
@click.option("--scores", type=click.Path(path_type=Path), help="Compare: a CSV table of the models' scores.")
@click.option("--slo", help="Compare, md, csv: such as 'ttft_mean<1s,throughput>20'.  [default: the runs', or that]")
@click.option("--usd-per-hour", type=float, help="Compare, md, csv: price of one GPU-hour.  [default: the runs']")
@click.option("--preset", help="Compare, md, csv: a price by name; see `benchsuite cost --list-presets`.")
@click.option("--prices", type=click.Path(path_type=Path), help="Compare, md, csv: your own price file (TOML).")
@click.option("--gpus", type=click.IntRange(min=1), help="Compare, md, csv: GPUs that the price is for.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help=f"The file; of vllm a folder.  [default: RUN/report.html, {_COMPARISON}; md, csv, json: stdout; RUN/vllm]",
)
@click.option("--open", "show", is_flag=True, help="Open what was written in the browser.")
def command(runs: tuple[Path, ...], points: Path | None, form: str, show: bool, **flags: Any) -> int:
    """Write report.html into the run folder RUN; of several runs, or a table of points, one page that compares them.

    Prints the path of what was written. Other formats say the same to other programs and people.
    """
    judging = ("scores", "slo", "usd_per_hour", "preset", "prices", "gpus")
    given = next((name for name in judging if flags[name] is not None), None)
    alone = form == "html" and len(runs) == 1 and points is None
    if given is not None and (alone or form in ("json", "vllm") or (given == "scores" and form != "html")):
        fits = "" if given == "scores" else ", to --format md or csv"
        raise click.UsageError(
            f"--{given.replace('_', '-')} belongs to a comparison of several runs, or to --points{fits}."
        )
    path: Path | None = flags["output"]
    if form != "html":
        path = _write_format(form, path, runs, points, flags)
    elif alone:
        path = _write_page(runs[0], path)
    else:
        path = path or _COMPARISON
        _write_comparison(path, runs, points, flags)
    if path is None:
        if show:
            raise click.UsageError(f"--open of --format {form} needs an --output.")
        return 0
    click.echo(path)
    if show:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            click.echo("no browser could be opened", err=True)
    return 0


def _write_page(run: Path, path: Path | None) -> Path:
    from benchsuite.report.page import render, write_report
    from benchsuite.store.files import write_bytes
    from benchsuite.store.run_folder import read_run

    if path is None:
        return write_report(run)
    write_bytes(path, render(read_run(run)).encode())
    return path


def _write_format(
    form: str, path: Path | None, runs: tuple[Path, ...], points: Path | None, flags: dict[str, Any]
) -> Path | None:
    """The path that was written, None for stdout."""
    from benchsuite.store.files import write_bytes
    from benchsuite.store.run_folder import read_run

    if form == "vllm":
        return _write_vllm(path, runs, points)
    if form == "json":
        import json

        from benchsuite.report.judge import judge_run

        if not runs or points is not None:
            raise click.UsageError("--format json is of run folders.")
        found = [judge_run(read_run(run)).summary() for run in runs]
        text = json.dumps(found[0] if len(found) == 1 else found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        from benchsuite.report.export import as_csv, as_markdown

        text = (as_markdown if form == "md" else as_csv)(_told(runs, points, flags))
    if path is None:
        click.echo(text, nl=False)
        return None
    write_bytes(path, text.encode())
    return path


def _told(runs: tuple[Path, ...], points: Path | None, flags: dict[str, Any]) -> list[Any]:
    from benchsuite.cli.curves import Price, read_curves
    from benchsuite.report.export import Told, facts_of
    from benchsuite.store.run_folder import read_run

    price = Price(flags["usd_per_hour"], flags["preset"], flags["gpus"], flags["prices"])
    return [
        Told(
            Path(curve.source).name,
            curve.model,
            curve.slo,
            curve.judged,
            curve.decision,
            () if points is not None else facts_of(read_run(Path(curve.source)).manifest),
        )
        for curve in read_curves(runs, points, flags["slo"], price)
    ]


def _write_vllm(path: Path | None, runs: tuple[Path, ...], points: Path | None) -> Path:
    from benchsuite.report.export_vllm import vllm_files
    from benchsuite.store.files import write_json
    from benchsuite.store.run_folder import read_run

    if len(runs) != 1 or points is not None:
        raise click.UsageError("--format vllm is of one run folder.")
    folder = path or runs[0] / "vllm"
    files = vllm_files(read_run(runs[0]))
    folder.mkdir(parents=True, exist_ok=True)
    for name, tree in files.items():
        write_json(folder / name, tree)
    return folder


def _write_comparison(path: Path, runs: tuple[Path, ...], points: Path | None, flags: dict[str, Any]) -> None:
    from benchsuite.cli.curves import Price, read_curves, unlike
    from benchsuite.report.compare_models import Contender, render_comparison
    from benchsuite.store.files import write_bytes

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
            curve.model,
        )
        for curve in curves
    ]
    placed = [] if flags["scores"] is None else _placed(curves, flags["scores"])
    write_bytes(path, render_comparison(contenders, placed, unlike(curves), price.told()).encode())


def _placed(curves: list[Curve], scores: Path) -> list[ParetoPoint]:
    from benchsuite.cli.frontier import place

    return place(curves, scores)
