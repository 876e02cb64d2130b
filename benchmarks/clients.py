"""The measuring client beside other clients, on the same streams: errors against the server's own times, and CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchsuite.cli.calibrate import calibration_row
from benchsuite.load.calibrate import Setting, on_cpus, run_setting
from benchsuite.simulator.config import SimulatorConfig
from benchsuite.simulator.server import RunningSimulator, simulator

ROOT = Path(__file__).parent.parent
ROUNDS = 3
# (streams, tokens/s, in step)
POINTS = ((128, 100.0, False), (512, 50.0, False), (128, 50.0, True))
LONG_STREAMS, LONG_TOK_S, LONG_BYTES = 32, 50.0, 1_000_000
# the slow ones once, at the first point only, for a shorter time
OTHERS = (("httpx-shared", 1.5), ("httpx", 2.6), ("openai", 2.6))


def fidelity_table() -> list[dict[str, Any]]:
    """Error against the server's own times, and CPU per chunk, of each client on the same streams."""
    rows = []
    for streams, tok_s, together in POINTS:
        point = f"{streams} x {tok_s:g}/s{' in step' if together else ''}"
        runs: dict[str, list[dict[str, Any]]] = {"wire": [], "wire, user stamps": [], "C epoll": []}
        for _ in range(ROUNDS):  # in turn, so that a change of the machine's speed meets all of them
            runs["wire"].append(_ours(Setting(streams, tok_s, together)))
            runs["wire, user stamps"].append(_ours(Setting(streams, tok_s, together, kernel_stamps=False)))
            c = c_client(streams, tok_s, together)
            if c is not None:
                runs["C epoll"].append(c)
        if (streams, tok_s, together) == POINTS[0]:
            for driver, seconds in OTHERS:
                runs[driver] = [_ours(Setting(streams, tok_s, together, driver=driver, seconds=seconds))]  # type: ignore[arg-type]
            runs["httpx, lines and json"] = [_httpx_lines(Setting(streams, tok_s, together, seconds=2.6))]
        rows += [{"point": point, "client": client, **_median(found)} for client, found in runs.items() if found]
    rows += long_prompts()
    _print(rows)
    return rows


def long_prompts() -> list[dict[str, Any]]:
    """The same streams with prompts of a line and of 1 MB, in turn: what a long body costs the others' stamps."""
    runs: dict[str, list[dict[str, Any]]] = {"wire": [], "wire, 1 MB prompts": []}
    for _ in range(ROUNDS):
        for client, n_bytes in zip(runs, (0, LONG_BYTES), strict=True):
            runs[client].append(_ours(Setting(LONG_STREAMS, LONG_TOK_S, prompt_bytes=n_bytes, seconds=5.2)))
    rows = [
        {"point": f"{LONG_STREAMS} x {LONG_TOK_S:g}/s", "client": name, **_median(found)}
        for name, found in runs.items()
    ]
    short, long = rows
    for key in ("gap_p50_ms", "gap_p99_ms", "gap_max_ms", "ttft_p99_ms", "loop_lag_p99_ms", "send_p99_ms"):
        if short.get(key) is not None and long.get(key) is not None:
            print(f"1 MB prompts: {key} {long[key]:.4f} against {short[key]:.4f} with short ones")
    return rows


def _ours(setting: Setting) -> dict[str, Any]:
    row = calibration_row(setting, *run_setting(setting))
    return {
        "chunks": row["n_chunks"],
        "cpu_us_per_chunk": row["cpu_us_per_chunk"] - row["parse_us_per_chunk"],
        "parse_us_per_chunk": row["parse_us_per_chunk"],
        "gap_p50_ms": row["gap_error_ms"]["p50"],
        "gap_p99_ms": row["gap_error_ms"]["p99"],
        "gap_p999_ms": row["gap_error_ms"]["p999"],
        "gap_max_ms": row["gap_error_ms"]["max"],
        "ttft_mean_ms": row["ttft_error_ms"]["mean"],
        "ttft_p99_ms": row["ttft_error_ms"]["p99"],
        "ttft_max_ms": row["ttft_error_ms"]["max"],
        "loop_lag_p99_ms": row["loop_lag_p99_ms"],
        "send_p99_ms": row["send_error_ms"]["p99"],
    }


def c_client(streams: int, tok_s: float, together: bool) -> dict[str, Any] | None:
    """The C client with kernel stamps on the same streams; None without a C compiler."""
    program = built("epoll_client")
    if program is None:
        return None
    setting = Setting(streams, tok_s, together)
    command = [str(program), "-n", str(streams), "-r", str(setting.requests // streams), "-k", "-w", "0"]
    with _server_for(setting) as server:
        c = _said([*command, "-m", str(setting.output_tokens), "-p", str(server.port)])
    return {
        "chunks": c["chunks"],
        "cpu_us_per_chunk": c["cpu_us_per_chunk"],
        "gap_p50_ms": c["gap_error_ms"]["p50"],
        "gap_p99_ms": c["gap_error_ms"]["p99"],
        "gap_p999_ms": c["gap_error_ms"]["p999"],
        "gap_max_ms": c["gap_error_ms"]["max"],
        "ttft_p99_ms": c["ttft_error_ms"]["p99"],
        "ttft_max_ms": c["ttft_error_ms"]["max"],
    }


def _httpx_lines(setting: Setting) -> dict[str, Any]:
    numbers = (setting.concurrency, setting.requests // setting.concurrency, setting.output_tokens)
    with _server_for(setting) as server:
        return _said([sys.executable, "-m", "benchmarks.httpx_lines", server.base_url, *map(str, numbers)])


@contextmanager
def _server_for(setting: Setting) -> Iterator[RunningSimulator]:
    """The setting's server on the first core; what the block starts runs on the others."""
    cpus = sorted(os.sched_getaffinity(0))
    config = SimulatorConfig(latency=setting.latency)
    with on_cpus({cpus[0]}), simulator(config) as server, on_cpus(set(cpus[1:])):
        yield server


def _said(command: list[str]) -> dict[str, Any]:
    """The JSON that a client program prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=ROOT)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def built(name: str) -> Path | None:
    """A program of benchmarks/c, compiled if need be; None without a C compiler or make."""
    if shutil.which("cc") is None or shutil.which("make") is None:
        return None
    subprocess.run(["make", "-s", "-C", str(ROOT / "benchmarks" / "c")], check=True)
    return ROOT / "build" / name


def _median(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Field by field the median of the runs, and their number."""
    keys = dict.fromkeys(key for run in found for key in run)
    return {"runs": len(found)} | {
        key: median(run[key] for run in found if run.get(key) is not None)
        for key in keys
        if any(run.get(key) is not None for run in found)
    }


def _print(rows: list[dict[str, Any]]) -> None:
    print("median of the runs; CPU without the parsing after the response; x: CPU as a multiple of the C client's")
    head = ("point", "client", "us CPU/chunk", "x", "parse us", "gap err p50", "p99", "p99.9", "max", "TTFT err p99 ms")
    print("{:<20}{:<23}{:>12}{:>7}{:>9}{:>13}{:>9}{:>9}{:>9}{:>17}".format(*head))
    c_cpu = {row["point"]: row["cpu_us_per_chunk"] for row in rows if row["client"] == "C epoll"}
    for row in rows:
        c = c_cpu.get(row["point"])
        print(
            f"{row['point']:<20}{row['client']:<23}{row['cpu_us_per_chunk']:>12.1f}"
            f"{'-' if c is None else format(row['cpu_us_per_chunk'] / c, '.2f'):>7}"
            f"{_cell(row.get('parse_us_per_chunk'), '.2f'):>9}{_cell(row.get('gap_p50_ms')):>13}"
            f"{_cell(row.get('gap_p99_ms')):>9}{_cell(row.get('gap_p999_ms')):>9}"
            f"{_cell(row.get('gap_max_ms'), '.3f'):>9}{_cell(row.get('ttft_p99_ms')):>17}"
        )


def _cell(value: float | None, shape: str = ".4f") -> str:
    return "-" if value is None else format(value, shape)
