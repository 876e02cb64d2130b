"""`benchsuite calibrate`: what the measuring client adds to the truth, on this machine."""

from __future__ import annotations

from typing import Any

import click

from benchsuite.cli.options import CommaList, json_option, print_json

DRIVERS: tuple[Any, ...] = ("wire", "httpx", "httpx-shared", "openai")


@click.command(
    epilog="""\b
Examples:
  benchsuite calibrate
  benchsuite calibrate --concurrency 128 --tok-s 100 --driver all
"""
)
@click.option("--concurrency", type=CommaList(least=1), default="8,32,128", show_default=True, help="Levels.")
@click.option("--tok-s", type=CommaList(least=1), default="20,50,100", show_default=True, help="Tokens/s of a stream.")
@click.option("--driver", type=click.Choice([*DRIVERS, "all"]), default="wire", show_default=True, help="The client.")
@click.option("--synchronized", is_flag=True, help="All streams step at the same instants, as batch engines send.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Measuring processes.")
@click.option(
    "--kernel-timestamps/--no-kernel-timestamps", default=True, help="Receive times from the kernel.  [default: yes]"
)
@click.option("--ceiling/--no-ceiling", default=True, help="Also the most chunks/s.  [default: yes]")
@click.option("--seconds", type=float, default=4.0, show_default=True, help="Length of each point.")
@json_option
def command(
    concurrency: list[int],
    tok_s: list[int],
    driver: str,
    synchronized: bool,
    workers: int,
    kernel_timestamps: bool,
    ceiling: bool,
    seconds: float,
    as_json: bool,
) -> int:
    """Run the measuring client against a server that knows its own send times, and compare.

    Prints the added error of TTFT, of the gaps between chunks and of the send instant, CPU per chunk and loop lag, and
    keeps the result for the manifests of the runs that this machine makes.
    """
    from benchsuite.load.calibrate import Setting, run_setting
    from benchsuite.report.calibration import calibration_row, print_calibration
    from benchsuite.telemetry.host import keep_calibration

    settings = [
        Setting(level, rate, synchronized, name, workers, kernel_timestamps, seconds)
        for name in (DRIVERS if driver == "all" else (driver,))
        for level in concurrency
        for rate in [*tok_s, *([None] if ceiling and level == max(concurrency) else [])]
    ]
    rows: list[dict[str, Any]] = []
    for i, setting in enumerate(settings):
        click.echo(f"[{i + 1}/{len(settings)}] {setting.driver} {setting.concurrency} users", err=True)
        rows.append(calibration_row(run_setting(setting)))
    kept = keep_calibration(rows)
    if as_json:
        print_json(kept)
    else:
        print_calibration(rows)
    return 0
