"""A million request rows summarised with intervals, verdicts and P_opt; memory while many requests are measured."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from benchsuite.simulator.config import SimulatorConfig
from benchsuite.simulator.server import simulator

SET_SIZES, PROMPT_CHARS = (50_000, 200_000), 2000  # about 25 minutes on two busy cores
VERBS = (["check"], ["decide"], ["report", "--format", "csv"], ["report", "--format", "vllm"])
LEVELS, REPEATS, REQUESTS, TOKENS = 30, 3, 11_112, 32
SLO = "ttft_mean<1s,ttft_p99<3s,output_throughput_per_user>20"


def million() -> dict[str, Any]:
    """1,000,080 rows, 30 levels x 3 repeats (goal: under 60 s and 2 GB), and the same as one repeat of each level."""
    found = {}
    for repeats in (REPEATS, 1):  # each in a process of its own, whose peak memory is then the figure
        code = f"from benchmarks.million import measure; measure({repeats})"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        print(done.stdout, end="", flush=True)
        seconds, rows_mb, peak_mb = (float(word) for word in done.stdout.split(":")[1].split(",")[0:5:2])
        found[f"repeats_{repeats}"] = {"seconds": seconds, "rows_mb": rows_mb, "peak_mb": peak_mb}
    return found


def large_sets() -> dict[str, Any]:
    """Peak memory of conductor and worker while 50,000 and 200,000 requests of 2 kB are sent; then of verbs."""
    sizes = [int(size) for size in os.environ.get("SET_SIZES", "").split(",") if size] or SET_SIZES
    found: dict[str, Any] = {}
    with simulator(SimulatorConfig()) as server, tempfile.TemporaryDirectory(prefix="benchsuite-bench-") as folder:
        for n in sizes:
            requests, run = Path(folder) / f"{n}.jsonl", Path(folder) / f"run-{n}"
            with requests.open("w") as file:
                for i in range(n):
                    line = {"id": f"p{i}", "prompt": f"{i} {'word ' * (PROMPT_CHARS // 5)}", "max_output_tokens": 2}
                    file.write(json.dumps(line) + "\n")
            flags = ["--base-url", server.base_url, "--workload", str(requests), "--concurrency", "64", "--quiet"]
            flags += ["--warmup-requests", "1", "--warmup-min-s", "0", "--cooldown-min-s", "0", "--usd-per-hour", "1"]
            peaks = _watched(["sweep", *flags, "--slo", "ttft_p95<60s", "--output", str(run)], run)
            peaks |= {" ".join(verb): _watched([verb[0], str(run), *verb[1:]], run).get("after", 0.0) for verb in VERBS}
            print(f"{n:>9,} requests: " + ", ".join(f"{what} {mb:.0f} MB" for what, mb in peaks.items()), flush=True)
            found[str(n)] = peaks
    return found


def _watched(command: list[str], run: Path) -> dict[str, float]:
    """The most memory of a command in MB: before, while and after a point's journal is there, and of its workers."""
    peaks: dict[str, float] = {}
    with psutil.Popen([sys.executable, "-m", "benchsuite", *command], stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                workers = [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]
                phase = "measuring" if any(run.glob("journal/*.arrows")) else "after" if run.exists() else "before"
                sizes = {phase: process.memory_info().rss, "worker": sum(one.memory_info().rss for one in workers)}
            except psutil.Error:
                continue
            peaks |= {what: max(peaks.get(what, 0.0), size / 2**20) for what, size in sizes.items()}
            time.sleep(0.05)
    return peaks


def measure(repeats: int) -> None:
    """Make the rows, judge them, and print one line."""
    from benchsuite.analysis.summary import measure_levels
    from benchsuite.economics.decision import chances, decide, judge_points
    from benchsuite.slo import parse_slo

    table = rows(repeats)
    before_mb = _peak_mb()
    slo = parse_slo(SLO)
    start = time.perf_counter()
    measured = list(measure_levels(table, slo, model="m"))
    chance = chances([level.resampling for level in measured])
    decision = decide(judge_points([level.point for level in measured], slo, 2.0, chance), chance)
    seconds = time.perf_counter() - start
    level = decision.choice.point.level.users if decision.kind == "optimum" else None
    print(
        f"{len(table):,} rows in {repeats} x {LEVELS} points:{seconds:.1f}, s,{before_mb:.0f}, MB with the rows alone,"
        f"{_peak_mb():.0f}, MB at most; optimum {level} ({decision.p_method})"
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rows(repeats: int) -> pa.Table:
    """Closed loops of 4, 8 ... 120 users whose TTFT and time per token grow with the load; 32 chunks a response."""
    rng = np.random.default_rng(1)
    n = REQUESTS * REPEATS // repeats
    parts = [_point(4 * (i + 1), repeat, n, rng) for i in range(LEVELS) for repeat in range(repeats)]
    return pa.concat_tables(parts)


def _point(users: int, repeat: int, n: int, rng: np.random.Generator) -> pa.Table:
    run = np.exp(0.02 * rng.standard_normal())
    ttft_s = (0.05 + 0.004 * users) * run * rng.lognormal(0, 0.5, n)
    gaps_us = ((15_000 + 250 * users) * run * rng.lognormal(0, 0.1, n * (TOKENS - 1))).astype(np.int32)
    span_s = np.add.reduceat(gaps_us, np.arange(0, len(gaps_us), TOKENS - 1)) * 1e-6
    lasted_s = ttft_s + span_s
    sent_s = np.empty(n)
    for user in range(users):  # each user sends when its last response ended
        own = lasted_s[user::users]
        sent_s[user::users] = np.concatenate([[0.0], np.cumsum(own)[:-1]])
    first_s, last_s = sent_s + ttft_s, sent_s + lasted_s
    offsets = pa.array(np.arange(0, len(gaps_us) + 1, TOKENS - 1, dtype=np.int32))

    def all_of(value: Any, kind: pa.DataType) -> pa.Array:
        return pa.array([value] * n, kind)

    return pa.table(
        {
            "concurrency": all_of(users, pa.int32()), "repeat": all_of(repeat, pa.int32()),
            "n_reads": all_of(TOKENS, pa.int32()), "merged_reads": all_of(0, pa.int32()), "scheduled_s": sent_s,
            "sent_s": sent_s, "first_token_s": first_s, "first_answer_s": first_s, "last_token_s": last_s,
            "closed_s": last_s, "input_tokens": all_of(100, pa.int32()), "output_tokens": all_of(TOKENS, pa.int32()),
            "asked_output_tokens": all_of(TOKENS, pa.int32()), "n_chunks": all_of(TOKENS, pa.int32()),
            "status": all_of("ok", pa.string()),
            "token_source": all_of("usage", pa.string()), "finish_reason": all_of("stop", pa.string()),
            "chunk_gap_us": pa.ListArray.from_arrays(offsets, pa.array(gaps_us)),
        }
    )  # fmt: skip
