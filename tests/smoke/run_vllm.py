"""Sweep the real vLLM on CPU and check our books against its own: `python tests/smoke/run_vllm.py [--output DIR]`.

Needs .venv-vllm (tests/smoke/setup_vllm_cpu.sh). Exit code 0: every check holds; 1: one does not, or something failed.
The tokens we counted (measured, warm-up, preflight) must equal the growth of vllm:generation_tokens_total, exactly.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
from prometheus_client.parser import text_string_to_metric_families

from benchsuite.errors import BenchsuiteError
from benchsuite.serving.process import LOOPBACK, free_port, running_server
from benchsuite.serving.tiny_model import cached_tiny_model

ROOT = Path(__file__).resolve().parents[2]
VLLM = ROOT / ".venv-vllm" / "bin" / "vllm"
MODEL = "tiny-llama"
LEVELS = (1, 2, 4, 8)
REQUESTS = 64
MAX_OUTPUT_TOKENS = 32
SETTLE_S = 10.0

ENV = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold: what, the value it must have, the value it has."""

    what: str
    expected: object
    found: object

    @property
    def holds(self) -> bool:
        """Whether the value is exactly the expected one."""
        return self.expected == self.found


def main() -> int:
    """Start vLLM, sweep it, check; 0 if every check holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="keep the run here (a new or empty folder); default: thrown away")
    options = parser.parse_args()
    if not VLLM.exists():
        print(f"{VLLM} is not there: run tests/smoke/setup_vllm_cpu.sh first", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="benchsuite-smoke-") as scratch:
        try:
            checks = smoke(options.output or Path(scratch) / "results", Path(scratch) / "vllm.log")
        except (BenchsuiteError, subprocess.SubprocessError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    width = max(len(check.what) for check in checks)
    print(f"{'check':<{width}}  {'expected':>10}  {'found':>10}")
    for check in checks:
        print(f"{check.what:<{width}}  {check.expected!s:>10}  {check.found!s:>10}  {'ok' if check.holds else 'WRONG'}")
    return 0 if all(check.holds for check in checks) else 1


def smoke(output: Path, log_path: Path) -> list[Check]:
    """Run the sweep against a fresh vLLM, leaving the run under `output`; returns the checks."""
    port = free_port()
    base_url = f"http://{LOOPBACK}:{port}"
    command = [str(VLLM), "serve", str(cached_tiny_model()), "--host", LOOPBACK, "--port", str(port)]
    command += ["--served-model-name", MODEL, "--max-model-len", "8192", "--enforce-eager"]
    started_s = time.monotonic()
    with running_server(
        command,
        ready_url=f"{base_url}/health",
        log_path=log_path,
        env=ENV,
        ready_timeout_s=300.0,
        stop_timeout_s=30.0,
    ):
        print(f"vLLM ready after {time.monotonic() - started_s:.0f} s at {base_url}", flush=True)
        before = generation_tokens(base_url)
        ended = subprocess.run(sweep_command(base_url, output), timeout=600, check=False)
        if ended.returncode not in (0, 6):  # 6: whether the SLO is met is undecided
            raise subprocess.CalledProcessError(ended.returncode, ended.args)
        run = the_run(output)
        manifest = json.loads((run / "manifest.json").read_text("utf-8"))
        rows = pq.read_table(run / "requests.parquet").to_pylist()
        counted = tokens_counted(manifest, rows)
        grown = settled(base_url, before, counted)
    points = json.loads((run / "summary.json").read_text("utf-8"))["points"]
    return checks_of(points, rows, counted, grown)


def sweep_command(base_url: str, output: Path) -> list[str]:
    """The sweep as a user would type it."""
    options = {
        "--base-url": base_url,
        "--model": MODEL,
        "--profile": "vllm",
        "--workload": "wineval",
        "--requests": REQUESTS,
        "--concurrency": ",".join(map(str, LEVELS)),
        "--repeats": 1,
        "--max-output-tokens": MAX_OUTPUT_TOKENS,
        "--usd-per-hour": 1,
        "--slo": "ttft_mean<5s,output_throughput_per_user>1",
        "--warmup-requests": 4,
        "--output": output,
    }
    flat = [str(part) for pair in options.items() for part in pair]
    return [sys.executable, "-m", "benchsuite", "sweep", *flat]


def the_run(output: Path) -> Path:
    """The one run folder at or under `output`. Raises BenchsuiteError if there is none or more than one."""
    runs = [path.parent for path in output.rglob("manifest.json")]
    if len(runs) != 1:
        raise BenchsuiteError("expected one run folder", where=str(output), given=f"{len(runs)}")
    return runs[0]


def generation_tokens(base_url: str) -> int:
    """vllm:generation_tokens_total, summed over its label sets; 0 before the first."""
    text = httpx.get(f"{base_url}/metrics", trust_env=False).raise_for_status().text
    total = sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "vllm:generation_tokens_total"
    )
    return int(total)


def settled(base_url: str, before: int, expected: int) -> int:
    """The counter's growth since `before`: it lags behind the replies, so wait until `expected`, at most SETTLE_S."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        grown = generation_tokens(base_url) - before
        if grown == expected or time.monotonic() > deadline:
            return grown
        time.sleep(0.2)


def tokens_counted(manifest: dict[str, Any], rows: list[dict[str, Any]]) -> int:
    """Output tokens of every request that we sent: measured, warm-up and preflight."""
    measured = sum(int(row["output_tokens"] or 0) for row in rows)
    warmup = sum(int(point["warmup"]["output_tokens"]) for point in manifest["points"])
    return measured + warmup + int(manifest["server_probe"]["output_tokens"])


def checks_of(points: list[dict[str, Any]], rows: list[dict[str, Any]], counted: int, grown: int) -> list[Check]:
    """What must hold for the summary's points, the rows, and the two token counts."""
    checks = [Check("levels", list(LEVELS), [point["concurrency"] for point in points])]
    for point in points:
        of_level = [row for row in rows if row["concurrency"] == point["concurrency"]]
        name = f"c={point['concurrency']}"
        tokens = sum(row["output_tokens"] or 0 for row in of_level)
        checks += [
            Check(f"{name} requests ok", REQUESTS, point["n_ok"]),
            Check(f"{name} requests failed", 0, point["n_failed"]),
            Check(f"{name} rows", REQUESTS, len(of_level)),
            Check(f"{name} distinct prompts", REQUESTS, len({row["prompt_id"] for row in of_level})),
            Check(f"{name} tokens in summary", tokens, point["output_tokens"]),
        ]
    short = [row for row in rows if row["output_tokens"] != row["asked_output_tokens"]]
    over = [row for row in rows if not 1 <= (row["asked_output_tokens"] or 0) <= MAX_OUTPUT_TOKENS]
    not_ok = [row for row in rows if row["status"] != "ok" or row["token_source"] != "usage"]
    return [
        *checks,
        Check("rows not ok or without usage", 0, len(not_ok)),
        Check("replies shorter or longer than asked", 0, len(short)),
        Check(f"asked for 0 or more than {MAX_OUTPUT_TOKENS} tokens", 0, len(over)),
        Check("output tokens: the server's, ours", grown, counted),
    ]


if __name__ == "__main__":
    sys.exit(main())
