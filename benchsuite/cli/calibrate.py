"""`benchsuite calibrate`: what the measuring client adds to the truth, on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from benchsuite.cli.options import SECONDS, CommaList, json_option, long_running, print_json

if TYPE_CHECKING:
    from benchsuite.load.calibrate import Setting
    from benchsuite.store.run_folder import Run

DRIVERS: tuple[Any, ...] = ("wire", "httpx", "httpx-shared", "openai")
# path into the row and format, by head
_COLUMNS = {
    "driver": ("driver", "{}"),
    "concurrency": ("concurrency", "{}"),
    "tok/s": ("tok_s", "{}"),
    "chunks/s": ("chunks_per_s", "{:,.0f}"),
    "gap error p50 ms": ("gap_error_ms.p50", "{:.4f}"),
    "gap error p99 ms": ("gap_error_ms.p99", "{:.4f}"),
    "gap error p99.9 ms": ("gap_error_ms.p999", "{:.4f}"),
    "gap error max ms": ("gap_error_ms.max", "{:.3f}"),
    "TTFT error mean ms": ("ttft_error_ms.mean", "{:+.4f}"),
    "TTFT error p99 ms": ("ttft_error_ms.p99", "{:.4f}"),
    "TTFT error max ms": ("ttft_error_ms.max", "{:.3f}"),
    "send error p99 ms": ("send_error_ms.p99", "{:.4f}"),
    "CPU us/chunk": ("cpu_us_per_chunk", "{:.1f}"),
    "CPU": ("cpu_share", "{:.0%}"),
    "loop lag p99 ms": ("loop_lag_p99_ms", "{:.2f}"),
    "merged": ("merged_read_share", "{:.2%}"),
    "stamps": ("stamp_source", "{}"),
}
_WIDE = ("gap error p50 ms", "gap error p99.9 ms", "gap error max ms", "TTFT error max ms", "send error p99 ms",
         "loop lag p99 ms", "merged")  # fmt: skip


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
@click.option(
    "--synchronized", "together", is_flag=True, help="All streams send at the same time, as batch engines do."
)
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Measuring processes.")
@click.option(
    "--kernel-timestamps/--no-kernel-timestamps",
    "kernel_stamps",
    default=True,
    help="Receive times from the kernel.  [default: yes]",
)
@click.option("--ceiling/--no-ceiling", default=True, help="Also measure the maximum of chunks/s.  [default: yes]")
@click.option("--seconds", type=SECONDS, default=4.0, show_default=True, help="Length of each point.")
@json_option
@long_running()
def command(concurrency: list[int], tok_s: list[int], driver: str, ceiling: bool, as_json: bool, **common: Any) -> None:
    """Measure the error of the measuring client against a server that records its send times.

    Prints the added error of TTFT, of the gaps between chunks and of the send time, CPU per chunk and loop lag, and
    keeps the result for the manifests of runs on this machine.
    """
    from benchsuite.load.calibrate import Setting, run_setting
    from benchsuite.telemetry.host import keep_calibration

    settings = [
        Setting(level, rate, driver=name, **common)
        for name in (DRIVERS if driver == "all" else (driver,))
        for level in concurrency
        for rate in [*tok_s, *([None] if ceiling and level == max(concurrency) else [])]
    ]
    rows: list[dict[str, Any]] = []
    for i, setting in enumerate(settings):
        click.echo(f"[{i + 1}/{len(settings)}] {setting.driver} {setting.concurrency} users", err=True)
        rows.append(calibration_row(setting, *run_setting(setting)))
    kept = keep_calibration(rows)
    if as_json:
        print_json(kept)
    else:
        _print(rows)


def calibration_row(setting: Setting, run: Run, truth: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The figures of a run as plain data. Times in ms; None where there is none."""
    from benchsuite.analysis.client_accuracy import Sent, fidelity

    sent = {id_: Sent(r["received_ns"], r["sent_ns"]) for id_, r in truth.items() if r["sent_ns"]}
    client = run.manifest.points[0].client
    n_chunks, duration_s, p99_us = client["n_chunks"], client["wall_s"], client["loop_lag"].get("p99_us")
    return {
        **{key: getattr(setting, key) for key in ("driver", "concurrency", "tok_s", "together", "workers")},
        "requests": run.table.num_rows,
        "n_chunks": n_chunks,
        "chunks_per_s": n_chunks / duration_s if duration_s else None,
        **fidelity(run.table, run.manifest.clock.origin_monotonic_ns or 0, sent),
        "cpu_us_per_chunk": client["cpu_s"] / n_chunks * 1e6 if n_chunks else None,
        "parse_us_per_chunk": client["parse_s"] / n_chunks * 1e6 if n_chunks else None,
        "cpu_share": client["cpu_share_mean"],
        "read_lag_us": client["read_lag"],
        "loop_lag_p99_ms": None if p99_us is None else p99_us / 1e3,
        "merged_read_share": client["merged_read_share"],
        "steal_s": client["steal_s"],
        "stamp_source": "/".join(sorted(set(run.table["stamp_source"].to_pylist()))),
    }


def _print(rows: Sequence[dict[str, Any]]) -> None:
    """The rows as a table. tok/s 'max': as fast as the server can."""
    from benchsuite.manifest import flat
    from benchsuite.report.console import Console, table
    from benchsuite.report.format import DASH

    console, cells = Console(), []
    for row in rows:
        values = flat(row) | ({"tok_s": "max"} if row["tok_s"] is None else {})
        figures = [(values[path], shape) for path, shape in _COLUMNS.values()]
        cells.append([DASH if value is None else shape.format(value) for value, shape in figures])
    console.print(table(console, list(_COLUMNS), cells, wide=_WIDE, wide_from=140))
