"""`benchsuite report`: write a run's report again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
def command(run: Path, show: bool) -> int:
    """Write report.html into the run folder RUN from what is measured there, and print its path."""
    from benchsuite.report.page import write_report

    path = write_report(run)
    click.echo(path)
    if show:
        click.launch(str(path))
    return 0
