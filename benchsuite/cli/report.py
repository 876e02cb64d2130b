"""`benchsuite report`: write a run's report again, or several runs' comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import PATH, goodput_option, levels_csv_option, output_option, price_options, slo_option

if TYPE_CHECKING:
    from benchsuite.report.judge import Judgement

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
  benchsuite report --levels-csv docs/examples/paper_table4.csv --scores docs/examples/paper_scores.csv \\
      --usd-per-hour 1.58 --output paper.html
"""
)
@click.argument("runs", nargs=-1, type=PATH)
@levels_csv_option
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="html",
    show_default=True,
    help="md: a table for an issue; csv: a row per level; json: summary.json; vllm: files as of vllm bench serve.",
)
@click.option("--scores", type=PATH, help="Compare: a CSV table of the models' scores.")
@slo_option()
@goodput_option
@price_options()
@output_option(
    f"The file; of vllm a folder.  [default: RUN/report.html, {_COMPARISON}; md, csv, json: stdout; RUN/vllm]",
)
@click.option("--open", "show", is_flag=True, help="Open what was written in the browser.")
def command(
    runs: tuple[Path, ...], levels_csv: Path | None, form: str, show: bool, price: dict[str, Any], **flags: Any
) -> int:
    """Write report.html into the run folder RUN; of several runs, or a table of levels, one page that compares them.

    Prints the path of what was written. Other formats say the same to other programs and people.
    """
    judging = {"scores": flags["scores"], "slo": flags["slo"], **price}
    given = next((name for name, value in judging.items() if value is not None), None)
    alone = form == "html" and len(runs) == 1 and levels_csv is None
    if given is not None and (alone or form in ("json", "vllm") or (given == "scores" and form != "html")):
        fits = "" if given == "scores" else ", to --format md or csv"
        raise click.UsageError(
            f"--{given.replace('_', '-')} belongs to a comparison of several runs, or to --levels-csv{fits}."
        )
    if form == "json" and (not runs or levels_csv is not None):
        raise click.UsageError("--format json is of run folders.")
    if form == "vllm" and (len(runs) != 1 or levels_csv is not None):
        raise click.UsageError("--format vllm is of one run folder.")
    if show and flags["output"] is None and form in ("md", "csv", "json"):
        raise click.UsageError(f"--open of --format {form} needs an --output.")
    path = _write(form, runs, levels_csv, price, flags)
    if path is None:
        return 0
    click.echo(path)
    if show:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            click.echo("no browser could be opened", err=True)
    return 0


def _write(
    form: str, runs: tuple[Path, ...], levels_csv: Path | None, price: dict[str, Any], flags: dict[str, Any]
) -> Path | None:
    """The path that was written, None for stdout."""
    from benchsuite.api import decide, price_override
    from benchsuite.report.export import as_csv, as_markdown, summary_json
    from benchsuite.report.page import render
    from benchsuite.store.files import REPORT, write_bytes

    judgements = decide(*runs, levels_csv=levels_csv, slo=flags["slo"], goodput=flags["goodput"], **price)
    path: Path | None = flags["output"]
    match form:
        case "vllm":
            return _write_vllm(path or runs[0] / "vllm", judgements[0])
        case "json":
            found = [summary_json(one) for one in judgements]
            tree = found[0] if len(found) == 1 else found
            text = json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        case "md":
            text = as_markdown(judgements)
        case "csv":
            text = as_csv(judgements)
        case _ if len(runs) == 1:
            path, text = path or runs[0] / REPORT, render(judgements[0])
        case _:
            path, text = path or _COMPARISON, _comparison(judgements, price_override(**price).source, flags["scores"])
    if path is None:
        click.echo(text, nl=False)
    else:
        write_bytes(path, text.encode())
    return path


def _write_vllm(folder: Path, judgement: Judgement) -> Path:
    from benchsuite.report.export_vllm import vllm_files
    from benchsuite.store.files import write_json

    files = vllm_files(judgement)
    folder.mkdir(parents=True, exist_ok=True)
    for name, tree in files.items():
        write_json(folder / name, tree)
    return folder


def _comparison(judgements: list[Judgement], price: str, scores: Path | None) -> str:
    from benchsuite.input_files import read_text
    from benchsuite.report.compare_models import place_models, render_comparison
    from benchsuite.report.judge import check_comparable

    placed = []
    if scores is not None:
        placed = place_models(judgements, read_text(scores, "the table of scores"), str(scores))
    return render_comparison(judgements, placed, check_comparable(judgements), price)
