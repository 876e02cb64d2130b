"""Calibration runs as figures: one row of plain data a setting, and a table of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from benchsuite.analysis.client_accuracy import Sent, fidelity

# head, path into the row, format, whether a narrow terminal shows it
_COLUMNS = (
    ("driver", "driver", "{}", True),
    ("concurrency", "concurrency", "{}", True),
    ("tok/s", "tok_s", "{:g}", True),
    ("chunks/s", "chunks_per_s", "{:,.0f}", True),
    ("gap error p50 ms", "gap_error_ms.p50", "{:.4f}", False),
    ("gap error p99 ms", "gap_error_ms.p99", "{:.4f}", True),
    ("gap error p99.9 ms", "gap_error_ms.p999", "{:.4f}", False),
    ("gap error max ms", "gap_error_ms.max", "{:.3f}", False),
    ("TTFT error mean ms", "ttft_error_ms.mean", "{:+.4f}", True),
    ("TTFT error p99 ms", "ttft_error_ms.p99", "{:.4f}", True),
    ("TTFT error max ms", "ttft_error_ms.max", "{:.3f}", False),
    ("send error p99 ms", "send_error_ms.p99", "{:.4f}", False),
    ("CPU us/chunk", "cpu_us_per_chunk", "{:.1f}", True),
    ("CPU", "cpu_share", "{:.0%}", True),
    ("loop lag p99 ms", "loop_lag_p99_ms", "{:.2f}", False),
    ("merged", "merged_read_share", "{:.2%}", False),
    ("stamps", "stamp_source", "{}", True),
)
_WIDE = 140


def calibration_row(run: Any) -> dict[str, Any]:
    """The figures of one `load.calibrate.CalibrationRun`, as plain data. Times in ms; None where there is none."""
    truth = {
        name: Sent(response["received_ns"], response["sent_ns"])
        for name, response in run.truth.items()
        if response["sent_ns"]
    }
    found = fidelity(run.rows, run.origin_monotonic_ns, truth)
    client = run.client
    n_chunks = client["n_chunks"]
    duration_s = client["wall_s"]
    return {
        "driver": run.setting.driver,
        "concurrency": run.setting.concurrency,
        "tok_s": run.setting.tok_s,
        "together": run.setting.together,
        "workers": run.setting.workers,
        "requests": run.rows.num_rows,
        "n_unmatched": found.n_unmatched,
        "n_chunks": n_chunks,
        "chunks_per_s": n_chunks / duration_s if duration_s else None,
        "gap_error_ms": dataclasses.asdict(found.gap_error),
        "ttft_error_ms": dataclasses.asdict(found.ttft_error),
        "send_error_ms": dataclasses.asdict(found.send_error),
        "cpu_us_per_chunk": client["cpu_s"] / n_chunks * 1e6 if n_chunks else None,
        "parse_us_per_chunk": client["parse_s"] / n_chunks * 1e6 if n_chunks else None,
        "cpu_share": client["cpu_share_mean"],
        "read_lag_us": client["read_lag"],
        "loop_lag_p99_ms": None if (p99 := client["loop_lag"].get("p99_us")) is None else p99 / 1e3,
        "merged_read_share": client["merged_read_share"],
        "steal_s": client["steal_s"],
        "stamp_source": "/".join(sorted(set(run.rows["stamp_source"].to_pylist()))),
    }


def print_calibration(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows as a table. tok/s 'max': as fast as the server can."""
    from rich.console import Console

    from benchsuite.report.console import table
    from benchsuite.report.format import DASH

    console = Console()
    columns = [column for column in _COLUMNS if column[3] or console.width >= _WIDE]
    cells = []
    for row in rows:
        shown = []
        for _, path, shape, _ in columns:
            value: Any = row
            for key in path.split("."):
                value = value[key]
            shown.append(("max" if path == "tok_s" else DASH) if value is None else shape.format(value))
        cells.append(shown)
    console.print(table(console, [column[0] for column in columns], cells))
