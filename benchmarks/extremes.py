"""How far the measuring client goes: chunks a second, requests a second, memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.clients import built
from benchsuite.load.calibrate import on_cpus
from benchsuite.load.sweep import sweep
from benchsuite.progress import View
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.spec import parse_spec
from benchsuite.store.run_folder import Run, read_run
from benchsuite.workload.dataset import Prompt, make_workload


def ceiling() -> list[dict[str, Any]]:
    """Most chunks a second on one core: answers as fast as the server can send them, one send a chunk."""
    rows = []
    for users in (8, 32, 128):
        with server() as (name, base_url):
            run = _run(base_url, users, tokens=1000, requests=users * 8)
        client = run.manifest["points"][0]["client"]
        rate = client["n_chunks"] / client["wall_s"]
        row = {
            "server": name,
            "users": users,
            "chunks_per_s": rate,
            "cpu_share": client["cpu_share_mean"],
            "us_per_chunk": client["cpu_s"] / client["n_chunks"] * 1e6,
            "parse_us_per_chunk": client["parse_s"] / client["n_chunks"] * 1e6,
            "merged_read_share": client["merged_read_share"],
        }
        rows.append(row)
        print(
            f"{users:>4} users on the {name}: {rate:>9,.0f} chunks/s at {row['cpu_share']:.0%} of a core, "
            f"{row['us_per_chunk']:.2f} us CPU per chunk with parsing ({row['parse_us_per_chunk']:.2f} us) and rows"
        )
    return rows


def request_path() -> list[dict[str, Any]]:
    """Requests a second with answers of one token at 32 users: socket, parser, row, journal."""
    rows = []
    for _ in range(3):
        with server() as (name, base_url):
            run = _run(base_url, 32, tokens=1, requests=60_000)
        client = run.manifest["points"][0]["client"]
        n_ok = run.table["status"].to_pylist().count("ok")
        wall_s = max(run.table["closed_s"].to_pylist()) - min(run.table["sent_s"].to_pylist())
        row = {
            "server": name,
            "requests": n_ok,
            "requests_per_s": n_ok / wall_s,
            "us_per_request": client["cpu_s"] / n_ok * 1e6,
            "cpu_share": client["cpu_share_mean"],
        }
        rows.append(row)
        print(
            f"{n_ok:,} requests on the {name}: {row['requests_per_s']:>7,.0f}/s "
            f"at {row['cpu_share']:.0%} of a core, {row['us_per_request']:.1f} us CPU each"
        )
    return rows


def memory() -> dict[str, Any]:
    """Memory of a measuring process: per request in flight, and over 100,000 requests."""
    latency = LatencyModel(ttft_s=0.5, itl_s=0.05)
    peaks = {}
    for users in (8, 1032):
        with simulator(SimulatorConfig(latency=latency)) as running:
            run = _run(running.base_url, users, tokens=10, requests=users * 2)
        peaks[users] = run.manifest["points"][0]["client"]["rss_end_bytes"]
    per_request = (peaks[1032] - peaks[8]) / 1024
    with server() as (_, base_url):
        run = _run(base_url, 32, tokens=1, requests=100_000)
    client = run.manifest["points"][0]["client"]
    grown = client["rss_end_bytes"] - client["rss_start_bytes"]
    print(f"{per_request / 1024:.1f} KB for each request in flight (1032 users against 8)")
    print(f"{grown / 1e6:+.1f} MB over {run.table.num_rows:,} requests ({client['rss_end_bytes'] / 1e6:.0f} MB in all)")
    return {"bytes_per_request_in_flight": per_request, "growth_over_100k_requests_bytes": grown}


@contextmanager
def server() -> Iterator[tuple[str, str]]:
    """The C server where it can be compiled, else the simulator: as fast as it can, on the first core."""
    cpus = sorted(os.sched_getaffinity(0))
    program = built("paced_server")
    with on_cpus({cpus[0]} if len(cpus) > 1 else set()):
        if program is None:
            with simulator(SimulatorConfig(latency=LatencyModel())) as running, on_cpus(set(cpus[1:])):
                yield "simulator", running.base_url
            return
        with subprocess.Popen([str(program), "-t", "0", "-d", "0"], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            try:
                with on_cpus(set(cpus[1:])):
                    yield "C server", f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def _run(base_url: str, users: int, *, tokens: int, requests: int) -> Run:
    """One point through a whole sweep."""
    message = ({"role": "user", "content": "hello"},)
    workload = make_workload("bench", tuple(Prompt(f"p{i}", None, message, None, tokens) for i in range(requests)))
    quick = {"warmup_requests": users, "warmup_min_s": 0.0, "cooldown_min_s": 0.0, "cooldown_max_s": 0.0}
    tree = {
        "server": {"base_url": base_url, "profile": "openai", "model": "simulator"},
        "workload": {"cache_bust": "off"},
        "load": {"concurrency": [users], **quick},
    }
    folder = Path(tempfile.mkdtemp(prefix="benchsuite-bench-"))
    try:
        sweep(parse_spec(tree, where="bench"), workload, folder / "run", View())
        return read_run(folder / "run")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
