"""`benchsuite report`: write a run's report again, or several runs' comparison."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import PATH, CommaList, judging_options, output_option, print_line
from benchsuite.errors import InputError

if TYPE_CHECKING:
    from benchsuite.report.judge import Judgement

_COMPARISON, _AGAIN = Path("comparison.html"), Path("judged_again.html")
FORMATS = ("html", "md", "csv", "json", "vllm", "otel", "prometheus", "mlflow", "wandb")
_FOLDERS = ("vllm", "mlflow", "wandb")  # formats that are files in a folder


@click.command(
    epilog="""\b
Examples:
  benchsuite report results/mine --open
  benchsuite report results/mine --slo "ttft_p95<500ms" --usd-per-hour 2.5 --output again.html
  benchsuite report results/mine --format md
  benchsuite report results/rates --capacity results/closed_loop
  benchsuite report results/a results/b --format csv --output levels.csv
  benchsuite report results/mine --format vllm --output mine_vllm
  benchsuite report results/mine --format prometheus --output /var/lib/node_exporter/benchsuite.prom
  benchsuite report results/a results/b --format mlflow --output experiments
  benchsuite report results/a results/b --scores scores.csv
  benchsuite report --levels-csv docs/examples/paper_table4.csv --scores docs/examples/paper_scores.csv \\
      --usd-per-hour 1.58 --output paper.html
"""
)
@judging_options(energy=True, capacity=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="html",
    show_default=True,
    help="md: a table for an issue; csv: a row per level; json: summary.json; vllm: files as of vllm bench serve; "
    "otel: OTLP JSON; prometheus: a text file for node_exporter; mlflow, wandb: into a local store.",
)
@click.option("--scores", type=PATH, help="Compare: a CSV table of the models' scores.  [default: the runs' own]")
@click.option(
    "--sections",
    type=CommaList(str),
    default="",
    help="Of a page, by name: curves,levels,gpu; all: every one, open.  [default: the main ones, others behind More]",
)
@output_option(
    f"Output file; for vllm, mlflow, wandb a folder.  [default: RUN/report.html, with another SLO or price {_AGAIN}; "
    f"of several {_COMPARISON}; md, csv, json, otel, prometheus: stdout; RUN/vllm; mlflow, wandb: here]",
)
@click.option("--open", "show", is_flag=True, help="Open what was written in the browser.")
def command(
    asked: dict[str, Any],
    price: dict[str, Any],
    form: str,
    scores: Path | None,
    sections: list[str],
    output: Path | None,
    show: bool,
) -> int:
    """Write report.html into the run folder RUN; of several runs, or a table of levels, one page that compares them.

    With another SLO or price the run is judged again, as by `decide`; the page says so, and RUN does not change. Prints
    the path of the file.
    """
    from benchsuite.api import decide, read_run
    from benchsuite.report.export import vllm_files
    from benchsuite.report.trackers import log_mlflow, log_wandb
    from benchsuite.store.files import REPORT, make_folder, write_json, write_output, write_text

    runs: tuple[Path, ...] = asked.pop("runs")
    of_one_run = len(runs) == 1 and asked["levels_csv"] is None
    again = any(value is not None for value in ({**asked, **price} | {"levels_csv": None, "capacity": None}).values())
    if scores is not None and (form != "html" or of_one_run):
        raise click.UsageError("--scores belongs to a comparison of several runs, or to --levels-csv.")
    if asked["capacity"] is not None and (form == "vllm" or not of_one_run):
        raise click.UsageError("--capacity belongs to one run of rates, and --format vllm has no place for it.")
    if sections and form != "html":
        raise click.UsageError("--sections is of a page.")
    if again and form == "vllm":
        raise click.UsageError("--format vllm is by the run's own SLO and price.")
    if form in ("json", "otel") and (not runs or asked["levels_csv"] is not None):
        raise click.UsageError(f"--format {form} needs run folders.")
    if form == "vllm" and not of_one_run:
        raise click.UsageError("--format vllm needs one run folder.")
    if show and output is None and form not in ("html", "vllm"):
        raise click.UsageError(f"--open of --format {form} needs an --output.")
    if form == "vllm":
        path = output or runs[0] / "vllm"
        if output is None and path.is_symlink():
            where, hint = str(path), "--output FOLDER, which may lead anywhere"
            raise InputError("a link in the run folder is not followed", where=where, hint=hint)
        make_folder(path)
        for name, tree in vllm_files(read_run(runs[0]).stored):
            write_json(path / name, tree, indent=None)
    elif form in _FOLDERS:
        path = output or Path()
        make_folder(path)
        {"mlflow": log_mlflow, "wandb": log_wandb}[form](decide(*runs, **asked, **price), path)
    else:
        judgements = decide(*runs, **asked, **price)
        if form == "html" and not of_one_run:
            text = _comparison(judgements, price, scores, sections)
        else:
            text = _text(form, judgements, sections)
        if output is None and form != "html":
            click.echo(text, nl=False)
            return 0
        own = of_one_run and not again  # else nothing in the run folder changes
        path = output or (runs[0] / REPORT if own else _AGAIN if of_one_run else _COMPARISON)
        if output is None and own:
            write_text(path, text)
        elif not write_output(path, text):
            return 0
    print_line(path)
    if show and not webbrowser.open(path.resolve().as_uri()):
        click.echo("no browser could be opened", err=True)
    return 0


def _text(form: str, judgements: list[Judgement], sections: list[str]) -> str:
    from benchsuite.redact import json_text
    from benchsuite.report.export import as_csv, as_markdown, summary_json
    from benchsuite.report.page import render
    from benchsuite.report.trackers import as_otlp, as_prometheus

    if form == "json":
        found = [summary_json(one) for one in judgements]
        tree = found[0] if len(found) == 1 else found
        return json_text(tree, indent=1) + "\n"
    if form == "html":
        return render(judgements[0], sections)
    return {"md": as_markdown, "csv": as_csv, "otel": as_otlp, "prometheus": as_prometheus}[form](judgements)


def _comparison(judgements: list[Judgement], price: dict[str, Any], scores: Path | None, sections: list[str]) -> str:
    from benchsuite.api import price_override
    from benchsuite.report.compare_models import place_models, render_comparison
    from benchsuite.report.judge import check_comparable
    from benchsuite.strict_model import read_text

    placed, notes = [], list[str]()
    measured = all(one.best is not None and one.best.quality is not None and not one.of_rates for one in judgements)
    if scores is not None:
        placed = place_models(judgements, read_text(scores, "the table of scores"), str(scores))
    elif measured and all(one.usd_per_hour is not None for one in judgements):
        placed = place_models(judgements, None, notes=notes)
    differences = [*check_comparable(judgements), *notes]
    price_text = price_override(**price).source
    return render_comparison(judgements, placed, differences, price_text, sections)
